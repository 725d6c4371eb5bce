// What a canvas shows of the model's data: an image, a clip that moves, or a sound that can be heard.
"use strict";

const shown = new Map(); // the numbers that each canvas shows
const WAVE = [480, 120];

// The numbers of an answer: bytes of pixels, or samples of 16 bits.
function numbersOf(text) {
  const found = bytes(text);
  return state.about.sample_rate ? new Int16Array(found.buffer) : found;
}

function show(canvas, numbers) {
  shown.set(canvas, numbers);
  if (state.about.sample_rate) drawWave(canvas, numbers);
  else paint(canvas, numbers, state.frame);
}

// The lowest and the highest sample of each column of the canvas, about the line of zero.
function drawWave(canvas, samples, start = 0, count = samples.length) {
  const { width, height } = canvas, pen = canvas.getContext("2d"), middle = height / 2;
  pen.fillStyle = "#fff";
  pen.fillRect(0, 0, width, height);
  pen.fillStyle = "#ccc";
  pen.fillRect(0, middle, width, 1);
  pen.fillStyle = "#4269d0";
  for (let x = 0; x < width; x++) {
    const from = start + Math.floor((x / width) * count), to = start + Math.ceil(((x + 1) / width) * count);
    const part = samples.subarray(from, to), low = Math.min(...part), high = Math.max(...part);
    pen.fillRect(x, middle - (high / 32768) * middle, 1, Math.max(1, ((high - low) / 32768) * middle));
  }
}

let audio = null, source = null;

// Play what a canvas shows, at the rate of its samples.
function play(canvas) {
  const samples = shown.get(canvas), rate = state.about.sample_rate;
  audio ??= new AudioContext();
  const buffer = audio.createBuffer(1, samples.length, rate);
  buffer.copyToChannel(Float32Array.from(samples, (sample) => sample / 32767), 0);
  source?.stop();
  source = new AudioBufferSourceNode(audio, { buffer });
  source.connect(audio.destination);
  source.start();
}

// Go to a frame of the clips, and to its map of codes.
function goToFrame(frame) {
  state.frame = frame;
  $("frame").value = frame;
  $("frame-number").value = `${frame + 1} of ${state.about.frames}`;
  for (const [canvas, numbers] of shown) paint(canvas, numbers, frame);
  [...$("maps").children].forEach((box, level) => { box.hidden = level !== frame; });
}

function startClips() {
  const { frames, frame_rate: rate } = state.about;
  let timer = null;
  const move = (on) => {
    clearInterval(timer);
    timer = on ? setInterval(() => goToFrame((state.frame + 1) % frames), Math.max(20, 1000 / rate)) : null;
    $("move").textContent = on ? "pause" : "play";
  };
  $("clip-tools").hidden = false;
  $("frame").max = frames - 1;
  $("frame").oninput = () => { move(false); goToFrame(Number($("frame").value)); };
  $("move").onclick = () => move(!timer);
  $("maps").addEventListener("pointerdown", () => move(false), true);
  $("sample").addEventListener("click", () => move(false)); // drawing shows the frame that is drawn
  goToFrame(0);
  move(true);
}

function startMedia() {
  const { image_shape: [, H, W], sample_rate: rate, frames } = state.about;
  const size = rate ? WAVE : [W, H];
  for (const canvas of document.querySelectorAll("canvas.image")) {
    sized(canvas, ...size);
    if (!rate) continue;
    canvas.classList.add("wave");
    const button = make("button");
    button.textContent = "play";
    button.onclick = () => tried(play, canvas);
    canvas.after(button);
  }
  if (!rate && !frames) return;
  const thing = rate ? "sound" : "clip";
  $("input-view").querySelector("h2").textContent = `A test ${thing}`;
  $("input-text").textContent = `The model encodes it and decodes its code. There is no field for a ${thing} of your own: ` +
    "--data names a folder or file of some.";
  for (const tools of $("input-view").querySelectorAll(".drawing")) tools.hidden = true;
  $("test-image").textContent = `next test ${thing}`;
}
