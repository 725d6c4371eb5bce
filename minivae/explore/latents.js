// The sliders of the latents, and the plane of the test images.
"use strict";

const decodeLatents = latest(async () => {
  const answer = await (await ask("/api/decode", { latents: [state.z], ...label() })).json();
  show($("decoded"), numbersOf(answer.images));
});

function makeSliders(shown) {
  const { order, low, high } = state.about.latents, box = $("sliders");
  box.replaceChildren();
  for (const d of order.slice(0, shown)) {
    const row = make("label"), slider = make("input"), value = make("output");
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
  const axes = state.z.length > 2 ? "The first two principal axes of the test images' codes" : "The test images' codes";
  $("plane-text").textContent = `${axes}. A click decodes a point; a drag decodes the way between two.`;
  if (plane.labels) legend(plane);
  plane.dots = dots(plane);
  drawPlane();
  let start = null;
  const where = (event) => plane.from(...cell(event, PLANE, PLANE));
  canvas.onpointerdown = (event) => { canvas.setPointerCapture(event.pointerId); start = where(event); goTo(start); };
  canvas.onpointermove = (event) => {
    if (!start) return;
    state.line = [start, where(event)];
    goTo(state.line[1]);
    decodePath();
  };
  canvas.onpointerup = canvas.onpointercancel = () => { start = null; };
}

const colour = (k) => (k < 0 ? "#888" : COLOURS[k % COLOURS.length]);

function legend(plane) {
  for (const k of [...new Set(plane.labels)].sort((a, b) => a - b).slice(0, 20)) {
    const item = make("span"), dot = make("b");
    dot.style.background = colour(k);
    item.append(dot, plane.names ? plane.names[k] ?? k : k);
    $("legend").append(item);
  }
}

function dots(plane) {
  const picture = sized(make("canvas"), PLANE, PLANE), pen = picture.getContext("2d");
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

function latentsAt([x, y]) {
  const { middle, axes } = state.plane;
  return middle.map((m, d) => m + x * axes[0][d] + y * axes[1][d]);
}

function drawPlane() {
  if (!state.plane) return;
  const { plane, line } = state, pen = $("plane").getContext("2d");
  const shifted = state.z.map((z, d) => z - plane.middle[d]);
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
