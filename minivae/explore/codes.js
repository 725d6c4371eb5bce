// The maps of codes, the codebook, and what the prior draws.
"use strict";

const MAP = 336;

const decodeCodes = latest(async () => {
  const answer = await (await ask("/api/decode", { codes: state.maps, ...label() })).json();
  show($("code-image"), numbersOf(answer.images));
});

// The rows and columns in which a map is drawn. The codes of a sound are written in lines.
function lines(level) {
  const [h, w] = state.about.maps[level].shape;
  if (!state.about.sample_rate) return [h, w];
  const columns = Math.min(w, Math.max(16, Math.ceil(Math.sqrt(2 * w))));
  return [Math.ceil(w / columns), columns];
}

function drawMap(level, undrawn = null) {
  const canvas = $("maps").querySelectorAll("canvas")[level], pen = canvas.getContext("2d"), map = state.maps[level];
  const [h, w] = state.about.maps[level].shape, [rows, columns] = lines(level);
  const [height, width] = [canvas.height / rows, canvas.width / columns];
  pen.font = `${Math.min(width, height) * 0.4}px monospace`;
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  for (let i = 0; i < h; i++) for (let j = 0; j < w; j++) {
    const hidden = undrawn && undrawn.has(`${i} ${j}`);
    pen.fillStyle = hidden ? "#888" : `hsl(${(map[i][j] * 137.5) % 360} 55% 72%)`;
    const place = i * w + j, x = (place % columns) * width, y = Math.floor(place / columns) * height;
    pen.fillRect(x, y, width, height);
    pen.fillStyle = "#000";
    if (!hidden && width > 20) pen.fillText(map[i][j], x + 0.5 * width, y + 0.5 * height);
  }
}

function showCodes() {
  state.maps.forEach((_, level) => drawMap(level));
  decodeCodes();
}

function makeMap(level, { name, shape: [h, w], book }) {
  const [rows, columns] = lines(level), box = make("div");
  const canvas = sized(make("canvas"), MAP, Math.round((MAP * rows) / columns));
  const caption = make("span");
  caption.textContent = `${name}, ${h} x ${w}`;
  canvas.dataset.level = level;
  if (state.about.sample_rate) canvas.classList.add("sequence");
  const under = (event) => {
    const [x, y] = cell(event, columns, rows), place = Math.min(y * columns + x, h * w - 1);
    return [place % w, Math.floor(place / w)];
  };
  const put = (event) => {
    const [j, i] = under(event), { chosen } = state;
    if (chosen.book !== book || state.maps[level][i][j] === chosen.code) return;
    state.maps[level][i][j] = chosen.code;
    showCodes();
  };
  canvas.onpointerdown = (event) => {
    const [j, i] = under(event);
    if (event.button || state.chosen.book !== book) choose(book, state.maps[level][i][j]);
    else { canvas.setPointerCapture(event.pointerId); put(event); }
  };
  canvas.onpointermove = (event) => { if (event.buttons === 1) put(event); };
  canvas.oncontextmenu = (event) => event.preventDefault();
  box.append(canvas, caption);
  $("maps").append(box);
}

function choose(book, code) {
  state.chosen = { book, code };
  for (const button of $("codebook").querySelectorAll("button")) {
    button.setAttribute("aria-checked", button.dataset.book == book && button.dataset.code == code);
  }
}

function makeBook(book, { name, counts, images, size }) {
  const box = make("div"), heading = make("p"), codes = make("div");
  const pixels = numbersOf(images), most = Math.max(...counts, 1), all = counts.reduce((a, b) => a + b, 0);
  const used = counts.filter(Boolean).length;
  heading.textContent = `${name}: ${used} of ${counts.length} codes are used`;
  codes.className = "codes";
  const drawn = pixels.length / (state.about.image_shape[0] * size[0] * size[1]);
  for (const code of counts.map((_, k) => k).slice(0, drawn).sort((a, b) => counts[b] - counts[a])) {
    const button = make("button"), canvas = make("canvas");
    const bar = make("i");
    if (state.about.sample_rate) drawWave(sized(canvas, 36, 36), pixels, code * size[1], size[1]);
    else paint(sized(canvas, size[1], size[0]), pixels, code, 0, size);
    bar.style.width = `${(36 * counts[code]) / most}px`;
    Object.assign(button.dataset, { book, code });
    button.title = `code ${code}: ${counts[code]} times, ${((100 * counts[code]) / Math.max(all, 1)).toFixed(1)}%`;
    button.append(canvas, bar, code);
    button.onclick = () => choose(book, code);
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
  const { books } = await (await ask("/api/codebook")).json();
  books.forEach((book, index) => makeBook(index, book));
  const { counts } = books[0];
  choose(0, counts.indexOf(Math.max(...counts)));
}

// Draw codes from the prior: the server sends each as it is drawn, and the page shows them one by one, in about LONGEST milliseconds.
const PACE = 20, LONGEST = 4000;

async function sample() {
  $("sample").disabled = true;
  try {
    const seed = Math.floor(Math.random() * 2 ** 32), temperature = Number($("temperature").value);
    const request = { seed, temperature, ...label() };
    const reader = (await ask("/api/sample", request)).body.pipeThrough(new TextDecoderStream()).getReader();
    const undrawn = state.about.maps.map(({ usual }, level) => {
      const cells = state.maps[level].flatMap((row, i) => row.map((_, j) => `${i} ${j}`));
      state.maps[level].forEach((row) => row.fill(usual));
      return new Set(cells);
    });
    undrawn.forEach((cells, level) => drawMap(level, cells));
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
  if (state.about.frames && state.frame !== map) goToFrame(map);
  decodeCodes();
  const all = state.about.maps.reduce((sum, { shape: [h, w] }) => sum + h * w, 0);
  await new Promise((done) => setTimeout(done, Math.min(PACE, LONGEST / all)));
}
