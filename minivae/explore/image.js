// An image that is drawn, of the test images or of a file, which is encoded and comes back.
"use strict";

const encode = latest(async () => {
  const { fresh } = state, { frames, sample_rate: rate } = state.about;
  state.fresh = false;
  const given = frames || rate ? { index: state.index } : { images: base64(state.pixels) };
  const answer = await (await ask("/api/encode", { ...given, ...label() })).json();
  show($("reconstruction"), numbersOf(answer.images));
  $("numbers").replaceChildren(...Object.entries(answer.numbers).map(([name, value]) => {
    const row = make("tr");
    for (const text of [name, value.toFixed(2)]) row.insertCell().textContent = text;
    return row;
  }));
  if (answer.latents) { state.z = answer.latents[0]; state.line = null; $("path").hidden = true; showLatents(); }
  else if (fresh) { state.maps = answer.codes; showCodes(); }
  else decodeCodes(); // another class for the same input: codes that were changed stay
});

function setPixels(pixels) {
  state.pixels = pixels;
  state.fresh = true;
  show($("input"), pixels);
  encode();
}

const BRUSHES = {
  draw: () => 255,
  erase: () => 0,
  noise: (old) => noisy(old),
};

// A pixel under the noise that the model was trained on, or under Gaussian noise.
function noisy(old) {
  const level = Number($("brush-level").value), kind = state.about.noise ? state.about.noise.kind : "gaussian";
  if (kind === "gaussian") return Math.min(255, Math.max(0, old + 255 * level * normal()));
  if (Math.random() >= level) return old;
  return kind === "masking" || Math.random() < 0.5 ? 0 : 255;
}

function brush(i, j) {
  const [C, H, W] = state.about.image_shape, radius = Number($("brush-size").value) / 2;
  for (let y = Math.max(0, Math.ceil(i - radius)); y <= Math.min(H - 1, i + radius); y++) {
    for (let x = Math.max(0, Math.ceil(j - radius)); x <= Math.min(W - 1, j + radius); x++) {
      if ((y - i) ** 2 + (x - j) ** 2 > radius ** 2) continue;
      for (let c = 0; c < C; c++) {
        const p = (c * H + y) * W + x;
        state.pixels[p] = BRUSHES[state.brush](state.pixels[p]);
      }
    }
  }
}

// Scale a file to the size of the model's images, grey where theirs are.
async function readFile(file) {
  const picture = await createImageBitmap(file), [C, H, W] = state.about.image_shape;
  const pen = sized(make("canvas"), W, H).getContext("2d");
  pen.fillRect(0, 0, W, H);
  const scale = Math.min(W / picture.width, H / picture.height);
  const [w, h] = [picture.width * scale, picture.height * scale];
  pen.imageSmoothingQuality = "high";
  pen.drawImage(picture, (W - w) / 2, (H - h) / 2, w, h);
  const { data } = pen.getImageData(0, 0, W, H), pixels = new Uint8Array(C * H * W);
  for (let p = 0; p < H * W; p++) {
    const [r, g, b] = data.subarray(4 * p, 4 * p + 3);
    if (C === 1) pixels[p] = Math.round(0.299 * r + 0.587 * g + 0.114 * b);
    else [r, g, b].forEach((value, c) => { pixels[c * H * W + p] = value; });
  }
  setPixels(pixels);
}

async function testImage(index) {
  const answer = await (await ask("/api/image", { index })).json();
  const { classes } = state.about;
  if (classes && answer.label !== null && answer.label < classes.length) $("class").value = answer.label;
  state.index = index;
  setPixels(numbersOf(answer.images));
}

function startInput() {
  const [C, H, W] = state.about.image_shape, canvas = $("input");
  for (const name of Object.keys(BRUSHES)) {
    const button = make("button");
    button.textContent = name;
    button.setAttribute("role", "radio");
    button.onclick = () => {
      state.brush = name;
      for (const other of $("brushes").children) other.setAttribute("aria-checked", other === button);
    };
    $("brushes").append(button, " ");
  }
  $("brushes").children[state.about.noise ? 2 : 0].click();
  if (state.about.noise) $("brush-level").value = state.about.noise.level;
  const stroke = (event) => { const [j, i] = cell(event, W, H); brush(i, j); setPixels(state.pixels); };
  canvas.onpointerdown = (event) => { canvas.setPointerCapture(event.pointerId); stroke(event); };
  canvas.onpointermove = (event) => { if (event.buttons) stroke(event); };
  let next = 0;
  $("test-image").onclick = () => tried(testImage, next++ % state.about.images);
  $("noise-all").onclick = () => setPixels(state.pixels.map(noisy));
  $("clear").onclick = () => setPixels(new Uint8Array(C * H * W));
  $("file").onchange = (event) => {
    if (event.target.files[0]) tried(readFile, event.target.files[0]);
    event.target.value = "";
  };
  $("test-image").click();
}
