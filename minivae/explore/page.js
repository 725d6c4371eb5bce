// The page of `minivae explore`. It asks the server by JSON (minivae/explore/server.py) and draws what it answers.
"use strict";

const $ = (id) => document.getElementById(id);
const state = { about: null, z: [], maps: [], pixels: null, plane: null, points: null, chosen: { level: 0, code: 0 } };
const COLOURS = ["#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#3ca951", "#ff8ab7", "#a463f2", "#97bbf5", "#9c6b4e", "#9498a0"];

// ---- talking to the server ----

async function ask(path, request) {
  const options = request && { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(request) };
  const answer = await fetch(path, options);
  if (!answer.ok) throw new Error((await answer.text()).trim());
  return answer;
}

// Show what went wrong in some work until the same work goes well.
const failures = new Map();

function say(work, error) {
  if (error) failures.set(work, error.message);
  else failures.delete(work);
  $("error").textContent = [...new Set(failures.values())].join(" ");
  $("error").hidden = !failures.size;
}

async function tried(work, ...args) {
  try { await work(...args); say(work, null); } catch (error) { say(work, error); }
}

// Make a function that runs one call at a time. While one runs, only the last of the later calls is kept.
function latest(work) {
  let running = false, waiting = null;
  return async function run(...args) {
    if (running) { waiting = args; return; }
    running = true;
    await tried(work, ...args);
    running = false;
    if (waiting) { const next = waiting; waiting = null; run(...next); }
  };
}

const label = () => (state.about.classes ? { label: Number($("class").value) } : {});

// ---- images: bytes (N, C, H, W) ----

const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

function base64(pixels) {
  let text = "";
  for (let i = 0; i < pixels.length; i += 8192) text += String.fromCharCode(...pixels.subarray(i, i + 8192));
  return btoa(text);
}

// Draw image `index` of some at column x of a canvas that has one pixel for each of theirs.
function paint(canvas, pixels, index = 0, x = 0, size = state.about.image_shape.slice(1)) {
  const [H, W] = size, C = state.about.image_shape[0], image = new ImageData(W, H), start = index * C * H * W;
  for (let p = 0; p < H * W; p++) {
    for (let c = 0; c < 3; c++) image.data[4 * p + c] = pixels[start + (C === 3 ? c : 0) * H * W + p];
    image.data[4 * p + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, x, 0);
}

function sized(canvas, width, height) {
  canvas.width = width;
  canvas.height = height;
  return canvas;
}

// The cell of a canvas of columns x rows under the pointer.
function cell(event, columns, rows) {
  const box = event.target.getBoundingClientRect();
  const at = (position, length, count) => Math.min(count - 1, Math.max(0, Math.floor((position / length) * count)));
  return [at(event.clientX - box.left, box.width, columns), at(event.clientY - box.top, box.height, rows)];
}

// ---- latents ----

const decodeLatents = latest(async () => {
  const answer = await (await ask("/api/decode", { latents: [state.z], ...label() })).json();
  paint($("decoded"), bytes(answer.images));
});

function makeSliders(shown) {
  const { order, low, high } = state.about.latents, box = $("sliders");
  box.replaceChildren();
  for (const d of order.slice(0, shown)) {
    const row = document.createElement("label"), slider = document.createElement("input"), value = document.createElement("output");
    Object.assign(slider, { type: "range", min: low[d], max: high[d], step: (high[d] - low[d]) / 200, id: `z${d}` });
    slider.addEventListener("input", () => { state.z[d] = Number(slider.value); showLatents(); });
    row.append(`z${d}`, slider, value);
    box.append(row);
  }
  $("all-latents").hidden = shown >= order.length;
  showLatents();
}

// Show state.z in the sliders and on the plane, and decode it.
function showLatents() {
  for (const row of $("sliders").children) {
    const slider = row.querySelector("input"), value = state.z[Number(slider.id.slice(1))];
    if (Number(slider.value) !== value) slider.value = value;
    row.querySelector("output").value = value.toFixed(2);
  }
  drawPlane();
  decodeLatents();
}

const normal = () => Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());

function startLatents() {
  $("latent-view").hidden = $("plane-view").hidden = false;
  const { latents } = state.about;
  state.z = latents.middle.slice();
  $("middle").onclick = () => { state.z = latents.middle.slice(); showLatents(); };
  $("normal").hidden = !latents.normal;
  $("normal").onclick = () => { state.z = state.z.map(normal); showLatents(); };
  $("all-latents").onclick = () => makeSliders(latents.order.length);
  makeSliders(20);
  tried(startPlane);
}

// ---- the plane ----

const PLANE = 800, MARGIN = 30, STEPS = 10;

async function startPlane() {
  const plane = (state.plane = await (await ask("/api/plane")).json()), canvas = sized($("plane"), PLANE, PLANE);
  const xs = plane.points.map((p) => p[0]), ys = plane.points.map((p) => p[1]);
  const [left, right, bottom, top] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const scale = (PLANE - 2 * MARGIN) / Math.max(right - left, top - bottom, 1e-6);
  plane.to = (p) => [PLANE / 2 + (p[0] - (left + right) / 2) * scale, PLANE / 2 - (p[1] - (bottom + top) / 2) * scale];
  plane.from = (x, y) => [(x - PLANE / 2) / scale + (left + right) / 2, (PLANE / 2 - y) / scale + (bottom + top) / 2];
  const axes = state.z.length > 2 ? "The first two principal axes of the test images' codes." : "The codes of the test images.";
  $("plane-text").textContent = `${axes} A click decodes a point; a drag decodes the way between two.`;
  if (plane.labels) legend(plane);
  plane.dots = dots(plane);
  drawPlane();
  let start = null;
  const where = (event) => plane.from(...cell(event, PLANE, PLANE));
  canvas.onpointerdown = (event) => { canvas.setPointerCapture(event.pointerId); start = where(event); goTo(start); };
  canvas.onpointermove = (event) => { if (start) { state.line = [start, where(event)]; goTo(state.line[1]); decodePath(); } };
  canvas.onpointerup = canvas.onpointercancel = () => { start = null; };
}

const colour = (k) => (k < 0 ? "#888" : COLOURS[k % COLOURS.length]);

function legend(plane) {
  for (const k of [...new Set(plane.labels)].sort((a, b) => a - b).slice(0, 20)) {
    const item = document.createElement("span"), dot = document.createElement("b");
    dot.style.background = colour(k);
    item.append(dot, plane.names ? plane.names[k] ?? k : k);
    $("legend").append(item);
  }
}

function dots(plane) {
  const picture = sized(document.createElement("canvas"), PLANE, PLANE), pen = picture.getContext("2d");
  plane.points.forEach((point, n) => {
    pen.fillStyle = colour(plane.labels ? plane.labels[n] : 0);
    pen.globalAlpha = 0.75;
    pen.beginPath();
    pen.arc(...plane.to(point), 5, 0, 7);
    pen.fill();
  });
  return picture;
}

const dot = (a, b) => a.reduce((sum, x, d) => sum + x * b[d], 0);
const latentsAt = ([x, y]) => state.plane.middle.map((m, d) => m + x * state.plane.axes[0][d] + y * state.plane.axes[1][d]);

function drawPlane() {
  if (!state.plane) return;
  const { plane, line } = state, pen = $("plane").getContext("2d"), shifted = state.z.map((z, d) => z - plane.middle[d]);
  pen.clearRect(0, 0, PLANE, PLANE);
  pen.drawImage(plane.dots, 0, 0);
  pen.strokeStyle = getComputedStyle(document.body).color;
  pen.lineWidth = 4;
  if (line) { pen.beginPath(); pen.moveTo(...plane.to(line[0])); pen.lineTo(...plane.to(line[1])); pen.stroke(); }
  pen.beginPath();
  pen.arc(...plane.to(plane.axes.map((axis) => dot(axis, shifted))), 12, 0, 7);
  pen.stroke();
}

function goTo(point) {
  if (state.line && point !== state.line[1]) { state.line = null; $("path").hidden = true; }
  state.z = latentsAt(point);
  showLatents();
}

const decodePath = latest(async () => {
  if (!state.line) return;
  const [a, b] = state.line.map(latentsAt), [H, W] = state.about.image_shape.slice(1);
  const way = Array.from({ length: STEPS }, (_, n) => a.map((x, d) => x + (n / (STEPS - 1)) * (b[d] - x)));
  const pixels = bytes((await (await ask("/api/decode", { latents: way, ...label() })).json()).images);
  const canvas = sized($("path"), STEPS * W, H);
  for (let n = 0; n < STEPS; n++) paint(canvas, pixels, n, n * W);
  canvas.hidden = !state.line;
});

// ---- codes ----

const MAP = 336;

const decodeCodes = latest(async () => {
  paint($("code-image"), bytes((await (await ask("/api/decode", { codes: state.maps })).json()).images));
});

function drawMap(level, undrawn = null) {
  const canvas = $("maps").querySelectorAll("canvas")[level], pen = canvas.getContext("2d"), map = state.maps[level];
  const [h, w] = state.about.maps[level].shape, [height, width] = [canvas.height / h, canvas.width / w];
  pen.font = `${Math.min(width, height) * 0.4}px monospace`;
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  for (let i = 0; i < h; i++) for (let j = 0; j < w; j++) {
    const hidden = undrawn && undrawn.has(`${i} ${j}`);
    pen.fillStyle = hidden ? "#888" : `hsl(${(map[i][j] * 137.5) % 360} 55% 72%)`;
    pen.fillRect(j * width, i * height, width, height);
    pen.fillStyle = "#000";
    if (!hidden && width > 20) pen.fillText(map[i][j], (j + 0.5) * width, (i + 0.5) * height);
  }
}

function showCodes() {
  state.maps.forEach((_, level) => drawMap(level));
  decodeCodes();
}

function makeMap(level, { name, shape: [h, w] }) {
  const box = document.createElement("div"), canvas = sized(document.createElement("canvas"), MAP, Math.round((MAP * h) / w));
  const caption = document.createElement("span");
  caption.textContent = `${name}, ${h} x ${w}`;
  canvas.dataset.level = level;
  const put = (event) => {
    const [j, i] = cell(event, w, h), { chosen } = state;
    if (chosen.level !== level || state.maps[level][i][j] === chosen.code) return;
    state.maps[level][i][j] = chosen.code;
    showCodes();
  };
  canvas.onpointerdown = (event) => {
    const [j, i] = cell(event, w, h);
    if (event.button || state.chosen.level !== level) choose(level, state.maps[level][i][j]);
    else { canvas.setPointerCapture(event.pointerId); put(event); }
  };
  canvas.onpointermove = (event) => { if (event.buttons === 1) put(event); };
  canvas.oncontextmenu = (event) => event.preventDefault();
  box.append(canvas, caption);
  $("maps").append(box);
}

function choose(level, code) {
  state.chosen = { level, code };
  for (const button of $("codebook").querySelectorAll("button")) {
    button.setAttribute("aria-checked", button.dataset.level == level && button.dataset.code == code);
  }
}

function makeBook(level, { counts, images, size }) {
  const box = document.createElement("div"), heading = document.createElement("p"), codes = document.createElement("div");
  const pixels = bytes(images), most = Math.max(...counts, 1), all = counts.reduce((a, b) => a + b, 0);
  heading.textContent = `${state.about.maps[level].name}: ${counts.filter(Boolean).length} of ${counts.length} codes are used`;
  codes.className = "codes";
  const drawn = pixels.length / (state.about.image_shape[0] * size[0] * size[1]);
  for (const code of counts.map((_, k) => k).slice(0, drawn).sort((a, b) => counts[b] - counts[a])) {
    const button = document.createElement("button"), canvas = sized(document.createElement("canvas"), size[1], size[0]);
    const bar = document.createElement("i");
    paint(canvas, pixels, code, 0, size);
    bar.style.width = `${(36 * counts[code]) / most}px`;
    Object.assign(button.dataset, { level, code });
    button.title = `code ${code}: ${counts[code]} times, ${((100 * counts[code]) / Math.max(all, 1)).toFixed(1)}%`;
    button.append(canvas, bar, code);
    button.onclick = () => choose(level, code);
    codes.append(button);
  }
  box.append(heading, codes);
  $("codebook").append(box);
}

async function startCodes() {
  $("code-view").hidden = $("codebook-view").hidden = false;
  const { maps, prior } = state.about;
  maps.forEach((map, level) => makeMap(level, map));
  state.maps = maps.map(({ shape: [h, w], usual }) => Array.from({ length: h }, () => Array(w).fill(usual)));
  showCodes();
  $("prior-tools").hidden = !prior;
  $("no-prior").hidden = Boolean(prior);
  if (prior) {
    const show = () => { $("temperature-value").value = Number($("temperature").value).toFixed(2); };
    $("temperature").value = prior.temperature;
    $("temperature").oninput = show;
    show();
    $("sample").onclick = () => tried(sample);
  }
  const { levels } = await (await ask("/api/codebook")).json();
  levels.forEach((book, level) => makeBook(level, book));
  const { counts } = levels[0];
  choose(0, counts.indexOf(Math.max(...counts)));
}

// Draw codes from the prior: the server sends each as it is drawn, and the page shows at most one in PACE milliseconds.
const PACE = 20;

async function sample() {
  $("sample").disabled = true;
  try {
    const request = { seed: Math.floor(Math.random() * 2 ** 32), temperature: Number($("temperature").value), ...label() };
    const reader = (await ask("/api/sample", request)).body.pipeThrough(new TextDecoderStream()).getReader();
    const undrawn = state.about.maps.map(({ shape: [h, w] }) => new Set(Array.from({ length: h * w }, (_, n) => `${Math.floor(n / w)} ${n % w}`)));
    state.about.maps.forEach(({ usual }, level) => { state.maps[level].forEach((row) => row.fill(usual)); drawMap(level, undrawn[level]); });
    for (let text = "", part = await reader.read(); !part.done; part = await reader.read()) {
      const lines = (text + part.value).split("\n");
      text = lines.pop();
      for (const line of lines) await showDrawn(JSON.parse(line), undrawn);
    }
  } finally { $("sample").disabled = false; }
}

async function showDrawn(drawn, undrawn) {
  if (drawn.codes) { state.maps = drawn.codes; showCodes(); return; }
  const { map, row, column, code } = drawn;
  state.maps[map][row][column] = code;
  undrawn[map].delete(`${row} ${column}`);
  drawMap(map, undrawn[map]);
  decodeCodes();
  await new Promise((done) => setTimeout(done, PACE));
}

// ---- an image: drawn, of the test images, or of a file ----

const encode = latest(async () => {
  const answer = await (await ask("/api/encode", { images: base64(state.pixels), ...label() })).json();
  paint($("reconstruction"), bytes(answer.images));
  $("numbers").replaceChildren(...Object.entries(answer.numbers).map(([name, value]) => {
    const row = document.createElement("tr");
    for (const text of [name, value.toFixed(2)]) row.insertCell().textContent = text;
    return row;
  }));
  if (answer.latents) { state.z = answer.latents[0]; state.line = null; $("path").hidden = true; showLatents(); }
  else { state.maps = answer.codes; showCodes(); }
});

function setPixels(pixels) {
  state.pixels = pixels;
  paint($("input"), pixels);
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
  const pen = sized(document.createElement("canvas"), W, H).getContext("2d");
  pen.fillRect(0, 0, W, H);
  const scale = Math.min(W / picture.width, H / picture.height), [w, h] = [picture.width * scale, picture.height * scale];
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
  if (state.about.classes && answer.label !== null && answer.label < state.about.classes.length) $("class").value = answer.label;
  setPixels(bytes(answer.images));
}

function startInput() {
  const [C, H, W] = state.about.image_shape, canvas = $("input");
  for (const name of Object.keys(BRUSHES)) {
    const button = document.createElement("button");
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
  let shown = 0;
  $("test-image").onclick = () => tried(testImage, shown++ % state.about.images);
  $("noise-all").onclick = () => setPixels(state.pixels.map(noisy));
  $("clear").onclick = () => setPixels(new Uint8Array(C * H * W));
  $("file").onchange = (event) => { if (event.target.files[0]) tried(readFile, event.target.files[0]); event.target.value = ""; };
  $("test-image").click();
}

// ---- start ----

async function start() {
  const about = (state.about = await (await ask("/api/model")).json()), [, H, W] = about.image_shape;
  $("title").textContent = document.title = `${about.model} in ${about.name}`;
  for (const canvas of document.querySelectorAll("canvas.image")) sized(canvas, W, H);
  if (about.classes) {
    $("class-choice").hidden = false;
    $("class").append(...about.classes.map((name, k) => new Option(name, k)));
    $("class").onchange = () => { encode(); };
  }
  if (about.latents) startLatents();
  else await startCodes();
  startInput();
  document.body.dataset.ready = "yes";
}

tried(start);
