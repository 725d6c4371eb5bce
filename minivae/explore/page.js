// The page of `minivae explore`. It asks the server by JSON (minivae/explore/server.py) and draws what it answers.
// This file has what media.js, latents.js, codes.js and image.js share, and starts them.
"use strict";

const $ = (id) => document.getElementById(id);
const state = { about: null, z: [], maps: [], pixels: null, plane: null, points: null, frame: 0, index: 0,
  fresh: true, chosen: { book: 0, code: 0 } };
const COLOURS = ["#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#3ca951",
  "#ff8ab7", "#a463f2", "#97bbf5", "#9c6b4e", "#9498a0"];

// ---- talking to the server ----

async function ask(path, request) {
  const headers = { "Content-Type": "application/json" };
  const options = request && { method: "POST", headers, body: JSON.stringify(request) };
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

const make = (name) => document.createElement(name);

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

// ---- start ----

async function start() {
  const about = (state.about = await (await ask("/api/model")).json());
  $("title").textContent = document.title = `${about.model} in ${about.name}`;
  startMedia();
  if (about.classes) {
    $("class-choice").hidden = false;
    $("class").append(...about.classes.map((name, k) => new Option(name, k)));
    $("class").onchange = () => { encode(); };
  }
  if (about.latents) startLatents();
  else await startCodes();
  if (about.frames) startClips();
  startInput();
  document.body.dataset.ready = "yes";
}

// When media.js, latents.js, codes.js and image.js are there too.
addEventListener("DOMContentLoaded", () => tried(start));
