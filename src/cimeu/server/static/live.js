// Microphone and camera go to the service in small pieces over a socket, and answers come back.

import { announce, ask, at, bearer, clock, keepHeight, node, showProblem, tone, vector } from "/page.js";

const RATE_HZ = 16000;
const SHOWN_S = 60;
const MOST_UNSENT_BYTES = 2 * RATE_HZ; // a second of sound
const SOUND = 1, FRAME = 2, LOST = 3;  // first byte of a message
const FRAME_WIDTH = 640, FRAME_QUALITY = 0.85;
// Cleaning would change how a voice sounds; the model was trained on voices as they were recorded.
const AS_IT_IS = { echoCancellation: false, noiseSuppression: false, autoGainControl: false, channelCount: 1 };

let health = null;
let session = null; // what runs: {stream, context, socket, ...}
let moments = [];   // answers of the last minute
let heard_s = 0;

// Starting and stopping

async function start() {
  at("problem").hidden = at("kept").hidden = true;
  at("start").disabled = at("keep").disabled = true;
  at("state").textContent = "Starting…";
  try {
    if (!navigator.mediaDevices) {
      throw new Error("Browsers give camera and microphone to pages of this computer or behind https only.");
    }
    await ask("/session", { method: "POST" });
    const constraints = { audio: AS_IT_IS, video: health.live.frames_hz > 0 && { width: FRAME_WIDTH, frameRate: health.live.frames_hz } };
    const stream = await navigator.mediaDevices.getUserMedia(constraints);
    moments = [];
    session = { stream, sent_s: 0, unsent_s: 0, gap: 0, dropped: 0, delays: [], timer: null, recorder: null, kept: at("keep").checked ? [] : null };
    await begin(session);
  } catch (error) {
    stop();
    showProblem(reasonOf(error), error.hint ?? "");
  }
}

function reasonOf(error) {
  if (error.name === "NotAllowedError") return "The browser was not allowed to use the microphone or the camera.";
  if (error.name === "NotFoundError") return "This computer has no microphone, or no camera where the model needs one.";
  if (error.name === "NotSupportedError") return "This browser cannot give sound at 16 kHz; Chromium, Chrome, Edge and Safari can.";
  return error.message;
}

async function begin(own) {
  heard_s = 0;
  const size = own.stream.getVideoTracks().length ? await showCamera(own.stream) : {};
  own.context = new AudioContext({ sampleRate: RATE_HZ });
  await own.context.audioWorklet.addModule("/microphone.js");
  own.socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/live/socket`);
  own.socket.binaryType = "arraybuffer";
  own.socket.onopen = () => own.socket.send(JSON.stringify(size));
  own.socket.onmessage = ({ data }) => hear(own, JSON.parse(data));
  own.socket.onclose = () => {
    if (session !== own) return;
    stop();
    if (at("problem").hidden) showProblem("The connection to the server ended.", "Is it still running? Start again.");
  };
  if (own.kept && own.stream.getVideoTracks().length) record(own);
}

async function showCamera(stream) {
  const camera = at("camera");
  camera.srcObject = stream;
  camera.hidden = false;
  await camera.play();
  return { width: camera.videoWidth, height: camera.videoHeight };
}

// Sound and image together; the browser chooses the format.
function record(own) {
  own.recorder = new MediaRecorder(own.stream);
  own.recorder.ondataavailable = ({ data }) => own.kept.push(data);
  own.recorder.start(1000);
}

// Once the server is ready.
function send(own) {
  const source = own.context.createMediaStreamSource(own.stream);
  const microphone = new AudioWorkletNode(own.context, "microphone", { numberOfOutputs: 0 });
  microphone.port.onmessage = ({ data }) => sendSound(own, new Int16Array(data));
  source.connect(microphone);
  if (own.stream.getVideoTracks().length) own.timer = setInterval(() => sendFrame(own), 1000 / health.live.frames_hz);
  at("stop").disabled = false;
  at("stop").focus();
  announce("Listening");
  drawState();
}

function sendSound(own, samples) {
  const power = samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length;
  at("level").value = Math.max(-60, 10 * Math.log10(power / 32768 ** 2 + 1e-12));
  if (own.kept && !own.recorder) own.kept.push(samples);
  // Nothing is sent late: what the socket cannot take now is lost, and said so.
  if (own.socket.readyState !== WebSocket.OPEN || own.socket.bufferedAmount > MOST_UNSENT_BYTES) {
    own.unsent_s += samples.length / RATE_HZ;
    own.gap += samples.length;
    return;
  }
  if (own.gap) {
    const gap = new DataView(new ArrayBuffer(5));
    gap.setUint8(0, LOST);
    gap.setUint32(1, own.gap, true);
    own.socket.send(gap);
    own.sent_s += own.gap / RATE_HZ; // the clock of the server goes on
    own.gap = 0;
  }
  const message = new Uint8Array(1 + samples.byteLength);
  message[0] = SOUND;
  message.set(new Uint8Array(samples.buffer), 1);
  own.socket.send(message);
  own.sent_s += samples.length / RATE_HZ;
}

function sendFrame(own) {
  if (own.drawing || !own.sent_s || own.socket.bufferedAmount > MOST_UNSENT_BYTES) return;
  const camera = at("camera");
  own.canvas ??= node("canvas", { width: camera.videoWidth, height: camera.videoHeight });
  own.canvas.getContext("2d").drawImage(camera, 0, 0);
  const time_ms = Math.round(1000 * own.sent_s);
  own.drawing = true;
  own.canvas.toBlob(async (blob) => {
    const jpeg = blob && new Uint8Array(await blob.arrayBuffer());
    own.drawing = false;
    if (!jpeg || own.socket.readyState !== WebSocket.OPEN) return;
    const message = new Uint8Array(5 + jpeg.length);
    message[0] = FRAME;
    new DataView(message.buffer).setUint32(1, time_ms, true);
    message.set(jpeg, 5);
    own.socket.send(message);
  }, "image/jpeg", FRAME_QUALITY);
}

function stop() {
  const own = session;
  session = null;
  at("start").disabled = at("keep").disabled = false;
  at("stop").disabled = true;
  at("level").value = -60;
  at("camera").hidden = true;
  at("camera").srcObject = null;
  at("state").textContent = "";
  if (!own) return;
  clearInterval(own.timer);
  own.socket?.close();
  own.context?.close();
  const isKept = keep(own);
  for (const track of own.stream.getTracks()) track.stop();
  announce(isKept ? "Stopped; the recording is being sent" : "Stopped; nothing was kept");
  drawState();
}

// Keeping a recording, where that was asked for: it is sent like any file.

function keep(own) {
  if (!own.kept || !own.sent_s) return false;
  const name = `live ${new Date().toISOString().slice(0, 19).replaceAll(":", "-")}`;
  if (!own.recorder) {
    if (own.kept.length) sendRecording(new File([wavHead(own.kept), ...own.kept], `${name}.wav`));
    return own.kept.length > 0;
  }
  own.recorder.onstop = () => {
    const type = own.recorder.mimeType.includes("mp4") ? "mp4" : "webm";
    sendRecording(new File(own.kept, `${name}.${type}`));
  };
  own.recorder.stop();
  return true;
}

function wavHead(pieces) {
  const bytes = pieces.reduce((sum, piece) => sum + piece.byteLength, 0);
  const head = new DataView(new ArrayBuffer(44));
  const letters = (place, text) => { for (const [index, letter] of [...text].entries()) head.setUint8(place + index, letter.charCodeAt(0)); };
  for (const [place, text] of [[0, "RIFF"], [8, "WAVEfmt "], [36, "data"]]) letters(place, text);
  // Size of the rest, of the format, of the samples; PCM, one channel; rate, bytes a second; bytes and bits a sample.
  for (const [place, value] of [[4, 36 + bytes], [16, 16], [24, RATE_HZ], [28, 2 * RATE_HZ], [40, bytes]]) head.setUint32(place, value, true);
  for (const [place, value] of [[20, 1], [22, 1], [32, 2], [34, 16]]) head.setUint16(place, value, true);
  return head;
}

async function sendRecording(file) {
  const form = new FormData();
  form.append("file", file);
  const answer = await fetch("/predictions", { method: "POST", headers: bearer(), body: form }).catch(() => null);
  const content = await answer?.json().catch(() => ({}));
  if (answer?.status !== 202) {
    showProblem(content?.message ?? "The recording could not be sent.", content?.hint ?? "");
    return;
  }
  at("kept").replaceChildren("Kept as ", node("a", { href: `/#${content.id}`, textContent: file.name }));
  at("kept").hidden = false;
  announce(`The recording is kept as ${file.name}`);
}

// Answers

function hear(own, message) {
  if (session !== own) return;
  if (message.type === "ready") send(own);
  if (message.type === "refused") {
    stop();
    showProblem(message.message, message.hint);
  }
  if (message.type !== "answers") return;
  own.dropped = message.dropped;
  heard_s = message.heard_s;
  for (const moment of message.moments) {
    own.delays.push(own.sent_s - moment.window_end_s);
    own.delays = own.delays.slice(-20);
  }
  const before = latest()?.label;
  moments = [...moments, ...message.moments].filter((moment) => moment.end_s > heard_s - SHOWN_S);
  drawState();
  drawLatest(before);
  drawLanes();
}

// The newest answer, of somebody of whom there is one.
function latest() {
  const newest = moments.filter((moment) => moment.end_s === moments.at(-1).end_s);
  return newest.find((moment) => moment.scores) ?? newest[0];
}

function drawState() {
  if (!session) {
    at("state").textContent = "";
    return;
  }
  const { delays, dropped, unsent_s } = session;
  const notes = [`${clock(heard_s)} heard`];
  if (delays.length) {
    const middle = [...delays].sort((one, other) => one - other)[Math.floor(delays.length / 2)];
    notes.push(`answers come ${Math.max(0, middle).toFixed(1)} s after the end of their window`);
  }
  if (dropped) notes.push(`${dropped} windows were not answered: the computer was too slow, or sound was lost`);
  if (unsent_s > 0.05) notes.push(`${unsent_s.toFixed(1)} s of sound could not be sent`);
  at("state").textContent = notes.join(" · ");
}

function drawLatest(before) {
  const moment = latest();
  if (!moment) return;
  const said = moment.label || (moment.abstain ? moment.reason.split("; ")[0] : "nothing said");
  const confidence = moment.label && moment.confidence !== null ? ` ${moment.confidence.toFixed(2)}` : "";
  at("said").textContent = said[0].toUpperCase() + said.slice(1) + confidence;
  const basis = moment.modality === "both" ? "face and voice" : moment.modality;
  at("when").textContent = [moment.person, `${clock(moment.window_start_s)} to ${clock(moment.window_end_s)}`, basis && `from ${basis}`].filter(Boolean).join(" · ");
  at("why-not").textContent = moment.reason;
  at("why-not").hidden = !moment.reason;
  const scores = (moment.smoothed ?? []).map((score, place) => [health.emotions[place], score]);
  at("scores").replaceChildren(...scores.sort((one, other) => other[1] - one[1]).map(([emotion, score]) => {
    const bar = node("i", { className: tone(health, emotion) });
    bar.style.setProperty("--share", score);
    return node("li", { className: emotion === moment.label ? "top" : "" },
      node("span", { textContent: emotion }), node("span", { className: "bar-of", ariaHidden: "true" }, bar),
      node("span", { className: "number", textContent: score.toFixed(2) }));
  }));
  keepHeight(at("details"));
  if (moment.label && moment.label !== before) announce(`${moment.person}: ${moment.label}`);
}

function drawLanes() {
  const from_s = Math.max(0, heard_s - SHOWN_S);
  const share = (time_s) => Math.max(0, (time_s - from_s) / SHOWN_S);
  const people = [...new Set(moments.map((moment) => moment.person))];
  const lanes = people.map((person) => {
    const own = moments.filter((moment) => moment.person === person);
    return node("div", { className: "lane" },
      node("div", { className: "who", textContent: person }), drawBand(own, person, share),
      node("span", { className: "scale", textContent: "scores, 0 to 1" }), drawCurves(own, person, share));
  });
  const axis = node("div", { className: "axis" }, ...[0, 0.25, 0.5, 0.75, 1].map((place) => {
    const mark = node("span", { textContent: clock(from_s + SHOWN_S * place) });
    mark.style.left = `${100 * place}%`;
    return mark;
  }));
  axis.setAttribute("aria-hidden", "true");
  at("lanes").replaceChildren(...lanes, axis);
}

// Neighbours of one label are one stretch.
function drawBand(own, person, share) {
  const runs = [];
  for (const moment of own) {
    const last = runs.at(-1);
    if (last && last.label === moment.label && moment.start_s - last.end_s < 0.01) last.end_s = moment.end_s;
    else runs.push({ ...moment });
  }
  const parts = runs.map(({ label, start_s, end_s, confidence, reason }) => {
    const part = node("span", { className: `segment ${tone(health, label)}`, textContent: label, title: label || reason });
    part.style.left = `${100 * share(start_s)}%`;
    part.style.width = `${100 * (share(end_s) - share(start_s))}%`;
    part.style.setProperty("--sure", label ? confidence : 1);
    return part;
  });
  const band = node("div", { className: "band" }, ...parts);
  band.setAttribute("role", "img");
  band.setAttribute("aria-label", `${person} in the last minute: ${[...new Set(runs.map(({ label }) => label || "nothing said"))].join(", ")}`);
  return band;
}

function drawCurves(own, person, share) {
  const drawing = vector("svg", { class: "curves", viewBox: "0 0 1000 100", preserveAspectRatio: "none", role: "img", "aria-label": `Scores of ${person} in the last minute` });
  const runs = [[]];
  for (const moment of own) {
    const isNext = moment.scores && (!runs.at(-1).length || moment.start_s - runs.at(-1).at(-1).end_s < 0.01);
    if (isNext) runs.at(-1).push(moment);
    else runs.push(moment.scores ? [moment] : []);
  }
  for (const [place, emotion] of health.emotions.entries()) {
    for (const run of runs.filter((filled) => filled.length)) {
      const ends = [[run[0].start_s, run[0]], ...run.map((moment) => [(moment.start_s + moment.end_s) / 2, moment]), [run.at(-1).end_s, run.at(-1)]];
      const points = ends.map(([time_s, { scores }]) => `${(1000 * share(time_s)).toFixed(1)},${(100 * (1 - scores[place])).toFixed(1)}`);
      drawing.append(vector("polyline", { class: tone(health, emotion), points: points.join(" ") }));
    }
  }
  return drawing;
}

// The page

async function open() {
  health = await ask("/health");
  const { model, version, emotions, notice, use_limits, live } = health;
  at("model").textContent = `${model} · ${emotions.length} emotions · version ${version}`;
  at("limits").textContent = use_limits;
  at("notice").textContent = notice;
  at("notice").hidden = !notice;
  const source = live.frames_hz ? (live.sound ? "camera and microphone" : "camera") : "microphone";
  at("about").textContent = `The ${source} of this computer, read by the program that serves this page: an answer every ` +
    `${live.hop_s.toFixed(1)} s about the last ${live.window_s.toFixed(0)} s.`;
  at("legend").replaceChildren(...emotions.map((emotion) => node("li", {}, node("i", { className: tone(health, emotion) }), emotion)),
    node("li", {}, node("i", { className: "none" }), "nothing said"));
  at("start").addEventListener("click", start);
  at("stop").addEventListener("click", stop);
  at("start").disabled = false;
  window.addEventListener("pagehide", stop);
  window.addEventListener("resize", () => {
    at("details").style.minHeight = "";
    keepHeight(at("details"));
  });
}

open().catch((error) => showProblem(error.message, error.hint ?? "Is the server still running?"));
