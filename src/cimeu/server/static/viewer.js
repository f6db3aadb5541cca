// The viewer: recordings on the left, one recording with its timeline on the right. It knows only the service's API.

import { announce, ask, at, bearer, clock, coded, keepHeight, node, showProblem, tone, vector } from "/page.js";
import { UNSURE, canSplit, copied, merged, moved, relabelled, split } from "/tiers.js";

const FORMATS = {
  csv: "tables", json: "programs", jsonl: "one segment a line", vtt: "subtitles", parquet: "data frames",
  eaf: "ELAN", textgrid: "Praat", rttm: "turns of speakers", html: "a page that opens offline", png: "a figure", svg: "a figure to edit",
  "series.csv": "every window", "series.parquet": "every window", "raters.csv": "what raters say",
};
const ACTIVE = ["waiting", "running"];
const POLL_MS = 700, REST_MS = 15000;
const NUDGE_S = 0.1;

const state = {
  health: null,      // what the server says of itself
  recordings: [],    // summaries, in order of arrival
  uploads: [],       // {name, share, left_s, request}
  open: null,        // the recording that is looked at, with its result
  shown: null,       // number of the segment whose details are shown
  chosen: null,      // number of the segment that keyboard or click chose
  explained: {},     // explanations asked for, by number of segment
  curves: null,      // scores over time of the open recording
  hovered: false,    // whether the pointer is on a segment
  rater: localStorage.getItem("rater") ?? "",
  rated: null,       // the segment of a tier that keyboard or click chose: {rater, lane, index}
  undo: [],          // tiers as they were before each change, of the open recording
};

// Sending recordings

function upload(file) {
  const limit = state.health.max_size_mb * 1e6;
  if (file.size > limit) {
    showProblem(`${file.name} is larger than ${state.health.max_size_mb} MB`, "Cut or compress it.");
    return Promise.resolve();
  }
  const request = new XMLHttpRequest();
  const entry = { name: file.name, share: 0, left_s: null, request };
  state.uploads.push(entry);
  drawRecordings();
  announce(`Sending ${file.name}`);
  return new Promise((resolve) => {
    const started = performance.now();
    request.upload.onprogress = (event) => {
      entry.share = event.loaded / event.total;
      entry.left_s = ((performance.now() - started) / 1000) * (1 / entry.share - 1);
      drawRecordings();
    };
    request.onloadend = async () => {
      state.uploads.splice(state.uploads.indexOf(entry), 1);
      const answer = parsed(request.responseText);
      if (request.status === 202) {
        await refresh();
        await open(answer.id);
      } else if (request.status) {
        showProblem(answer.message ?? "The recording was not accepted.", answer.hint ?? "");
      } else if (!entry.stopped) {
        showProblem(`${file.name} could not be sent.`, "Is the server still running?");
      }
      drawRecordings();
      resolve();
    };
    request.open("POST", "/predictions");
    for (const [name, value] of Object.entries(bearer())) request.setRequestHeader(name, value);
    const form = new FormData();
    form.append("file", file);
    request.send(form);
  });
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}

// Saying things

function left(time_s) {
  if (time_s === null) return "";
  if (time_s < 10) return "a few seconds left";
  if (time_s < 90) return `about ${Math.round(time_s / 10) * 10} s left`;
  return `about ${Math.round(time_s / 60)} min left`;
}

function spoken(recording) {
  const { status, progress, problem } = recording;
  if (status === "waiting") return progress.ahead ? `waiting, ${progress.ahead} before it` : "waiting";
  if (status === "failed") return problem.message;
  if (status === "finished") return `kept until ${timeOfDay(recording.expires)}`;
  if (!progress.total_s) return "being read";
  const percent = Math.round((100 * progress.completed_s) / progress.total_s);
  return [`${percent} %`, left(progress.seconds_left)].filter(Boolean).join(", ");
}

function timeOfDay(text) {
  const then = new Date(text);
  const today = then.toDateString() === new Date().toDateString();
  const shape = { hour: "2-digit", minute: "2-digit", ...(today ? {} : { day: "numeric", month: "short" }) };
  return then.toLocaleString(undefined, shape);
}

// The list of recordings

let timer = null;
async function refresh() {
  clearTimeout(timer);
  const before = new Map(state.recordings.map((recording) => [recording.id, recording.status]));
  try {
    state.recordings = (await ask("/predictions")).predictions;
  } catch (error) {
    showProblem(error.message, error.hint ?? "Is the server still running?");
  }
  for (const recording of state.recordings) {
    if (before.get(recording.id) !== recording.status) announce(`${recording.name}: ${recording.status}`);
    if (recording.id === state.open?.id && recording.status !== state.open.status) await open(recording.id);
  }
  if (state.open && !state.recordings.some((recording) => recording.id === state.open.id)) close();
  drawRecordings();
  drawWaiting();
  const busy = state.recordings.some((recording) => ACTIVE.includes(recording.status));
  timer = setTimeout(refresh, busy ? POLL_MS : REST_MS);
}

let drawn = "";
function drawRecordings() {
  const listing = JSON.stringify([state.recordings, state.uploads, state.open?.id]);
  if (listing === drawn) return;
  drawn = listing;
  const focused = document.activeElement?.dataset?.key;
  const sending = state.uploads.map((upload) =>
    entry(upload.name, upload.share < 1 ? `sending, ${Math.round(100 * upload.share)} %, ${left(upload.left_s)}` : "being looked at", {
      share: upload.share,
      drop: () => { upload.stopped = true; upload.request.abort(); },
      dropLabel: `Stop sending ${upload.name}`,
    }),
  );
  const listed = state.recordings.map((recording) =>
    entry(recording.name, spoken(recording), {
      key: recording.id,
      isOpen: recording.id === state.open?.id,
      share: ACTIVE.includes(recording.status) ? recording.progress.completed_s / (recording.progress.total_s || 1) : null,
      pick: () => open(recording.id),
      drop: () => remove(recording),
      dropLabel: `Delete ${recording.name}`,
    }),
  );
  at("recordings").replaceChildren(...listed.reverse(), ...sending);
  if (focused) document.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
}

function entry(name, said, { key = "", isOpen = false, share = null, pick = null, drop, dropLabel }) {
  const text = [node("span", { className: "name", textContent: name }), node("span", { className: "state", textContent: said })];
  const main = pick
    ? node("button", { type: "button", className: "pick", onclick: pick, dataset: { key } }, ...text)
    : node("div", { className: "pick" }, ...text);
  if (isOpen) main.setAttribute("aria-current", "true");
  if (share !== null) {
    const bar = node("progress", { max: 1, value: share });
    bar.setAttribute("aria-label", `${name}: progress`);
    main.append(bar);
  }
  const away = node("button", { type: "button", className: "drop-it", textContent: "×", onclick: drop, dataset: { key: `${key}x` } });
  away.setAttribute("aria-label", dropLabel);
  return node("li", { className: isOpen ? "open" : "" }, main, away);
}

async function remove(recording) {
  const dialog = at("ask-delete");
  at("delete-title").textContent = `Delete ${recording.name}?`;
  dialog.returnValue = "no";
  dialog.showModal();
  await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
  if (dialog.returnValue !== "yes") return;
  await tried(() => ask(`/predictions/${recording.id}`, { method: "DELETE" }));
  announce(`${recording.name} is deleted`);
  await refresh();
}

async function tried(action) {
  try {
    at("problem").hidden = true;
    return await action();
  } catch (error) {
    showProblem(error.message, error.hint ?? "Is the server still running?");
    return null;
  }
}

// One recording

async function open(id) {
  const prediction = await tried(() => ask(`/predictions/${id}`));
  if (!prediction) return;
  const isOther = prediction.id !== state.open?.id;
  state.open = prediction;
  location.hash = id;
  if (isOther) {
    state.shown = state.chosen = state.rated = null;
    state.undo = [];
    state.explained = {};
    state.curves = null;
    at("zoom").value = 1;
    at("details").style.minHeight = "";
  }
  draw(isOther);
  drawRecordings();
  if (!prediction.result || state.curves) return;
  const curves = await tried(() => ask(`/predictions/${id}/curves`));
  if (state.open?.id !== id || !curves || !state.open.result) return;
  state.curves = curves;
  drawLanes(state.open.result);
}

function close() {
  state.open = null;
  history.replaceState(null, "", location.pathname);
  for (const kind of ["video", "audio"]) at(kind).removeAttribute("src");
  document.title = "CiMEU";
  at("viewer").hidden = true;
  at("empty").hidden = false;
}

function draw(isOther) {
  const { open: recording } = state;
  at("empty").hidden = true;
  at("viewer").hidden = false;
  document.title = `${recording.name} · CiMEU`;
  at("title").textContent = recording.name;
  at("downloads").hidden = !recording.result;
  const links = state.health.formats.map((format) =>
    node("li", {}, node("a", { href: `/predictions/${recording.id}/exports/${format}`, download: "" },
      node("b", { textContent: format.toUpperCase() }), node("span", { textContent: FORMATS[format] ?? "" }))),
  );
  at("formats").replaceChildren(...links);
  if (isOther && recording.status !== "failed") drawPlayer(recording);
  drawWaiting();
  const result = recording.result;
  at("stage").hidden = !result;
  if (!result) return;
  drawLegend(result);
  drawLanes(result);
  if (state.rated) showRated();
  else showSegment(state.shown ?? firstAnswer(result));
}

function drawWaiting() {
  if (!state.open) return;
  const recording = state.recordings.find((listed) => listed.id === state.open.id) ?? state.open;
  const facts = [clock(recording.duration_s)];
  if (recording.expires) facts.push(`deleted at ${timeOfDay(recording.expires)} with all corrections: download before`);
  at("facts").textContent = facts.join(" · ");
  at("reading").hidden = recording.status === "finished";
  at("reading-said").replaceChildren(...coded(spoken(recording)));
  at("reading-hint").textContent = recording.problem?.hint ?? "Recordings are read one at a time; this page can be closed meanwhile.";
  at("reading-bar").hidden = recording.status === "failed";
  at("reading-bar").value = recording.progress.completed_s / (recording.progress.total_s || 1);
}

function firstAnswer(result) {
  return (result.segments.find((segment) => segment.label) ?? result.segments[0])?.number ?? null;
}

function player() {
  return at(state.open?.has_video ? "video" : "audio");
}

function drawPlayer(recording) {
  for (const kind of ["video", "audio"]) {
    const element = at(kind);
    element.hidden = (kind === "video") !== recording.has_video;
    if (element.hidden) element.removeAttribute("src");
    else element.src = `/predictions/${recording.id}/media`;
    element.load();
  }
  at("unplayable").hidden = true;
}

function drawLegend(result) {
  const items = result.emotions.map((emotion) =>
    node("li", {}, node("i", { className: tone(result, emotion) }), emotion));
  at("legend").replaceChildren(...items, node("li", {}, node("i", { className: "none" }), "nothing said"));
}

function length_s(result) {
  return Math.max(result.duration_s, ...result.segments.map((segment) => segment.end_s), 0.001);
}

function drawLanes(result) {
  const before = document.activeElement;
  const focused = before?.dataset ?? {};
  const whole_s = length_s(result);
  const lanes = Object.entries(result.persons).map(([lane, person]) => {
    const name = node("input", { value: person, maxLength: 120, spellcheck: false, dataset: { lane } });
    name.setAttribute("aria-label", `Name of ${lane}`);
    // Not `change`: a browser sends none where a name that was half typed was put into a new field, and is confirmed.
    name.onblur = () => { if (name.value !== person) rename(lane, name); };
    name.onkeydown = (event) => {
      if (event.key === "Enter") name.blur();
      if (event.key === "Escape") { name.value = person; name.blur(); }
    };
    const theirs = result.segments.filter((segment) => segment.lane === lane);
    const band = node("div", { className: "band", dataset: { lane } }, ...theirs.map((segment) => drawSegment(result, segment, whole_s)));
    band.setAttribute("role", "toolbar");
    band.setAttribute("aria-label", `${person}, ${theirs.length} segments`);
    const tiers = shownTiers(result).filter((tier) => tier.lane === lane).flatMap((tier) => drawTier(result, tier, person, whole_s));
    const curves = drawCurves(result, lane, person, whole_s);
    return node("div", { className: "lane" }, node("div", { className: "who" }, name), band, ...tiers, ...curves);
  });
  const axis = node("div", { className: "axis" });
  axis.setAttribute("aria-hidden", "true");
  if (before?.matches(".who input")) before.onblur = null; // taken away, it would save what is half typed
  at("lanes").replaceChildren(...lanes, axis);
  drawAxis();
  rove();
  drawRater(result);
  if (focused.number !== undefined) segmentNode(focused.number)?.focus();
  else if (focused.index !== undefined && state.rated) ratedNode(state.rated)?.focus();
  else if (before?.matches(".who input")) typeOn(before);
}

// Lanes are drawn anew when their curves arrive: whoever is typing a name meanwhile loses nothing.
function typeOn(before) {
  const name = at("lanes").querySelector(`.who input[data-lane="${CSS.escape(before.dataset.lane)}"]`);
  if (!name) return;
  name.value = before.value;
  name.focus();
  name.setSelectionRange(before.selectionStart, before.selectionEnd);
}

// The rater's own tiers, and on request those of others: who sees them is no longer independent of them.
function shownTiers(result) {
  return result.raters.filter((tier) => tier.rater === state.rater || at("others").checked);
}

function drawRater(result) {
  at("rater").textContent = `Rater: ${state.rater || "nobody yet"}`;
  at("others-switch").hidden = result.raters.every((tier) => tier.rater === state.rater);
  at("editing-hint").hidden = result.raters.every((tier) => tier.rater !== state.rater);
}

function drawTier(result, { rater, lane, segments }, person, whole_s) {
  const band = node("div", { className: "band tier", dataset: { lane, rater } },
    ...segments.map((part, index) => drawRated(result, { rater, lane, index }, part)));
  band.setAttribute("role", "toolbar");
  band.setAttribute("aria-label", `${person}, rated by ${rater}, ${segments.length} segments`);
  place(band, segments, whole_s);
  return [node("span", { className: "scale rater", textContent: rater, title: `rated by ${rater}` }), band];
}

function drawRated(result, ref, part) {
  const isOwn = ref.rater === state.rater;
  const grips = ["start", "end"].map((edge) => node("span", { className: `grip ${edge}`, ariaHidden: "true", dataset: { edge } }));
  const made = node("button", {
    type: "button",
    className: `segment rated ${tone(result, part.label)}${isOwn ? " own" : ""}`,
    title: `${part.label}, ${clock(part.start_s)} to ${clock(part.end_s)}`,
    tabIndex: -1,
    dataset: { ...ref, start: part.start_s, end: part.end_s },
    onclick: () => { chooseRated(ref); seek(part.start_s); },
    onfocus: () => { chooseRated(ref); },
  }, node("span", { textContent: part.label }), ...(isOwn ? grips : []));
  made.setAttribute("aria-label", `${part.label}, ${clock(part.start_s)} to ${clock(part.end_s)}, rated by ${ref.rater}`);
  return made;
}

function place(band, segments, whole_s) {
  for (const [index, part] of segments.entries()) {
    band.children[index].style.left = `${(100 * part.start_s) / whole_s}%`;
    band.children[index].style.width = `${(100 * (part.end_s - part.start_s)) / whole_s}%`;
  }
}

// Scores over time, one line per emotion, and below them the continuous labels; values are read with the pointer.
function drawCurves(result, lane, person, whole_s) {
  const runs = state.curves?.lanes[lane] ?? [];
  if (!runs.length) return [];
  const { emotions, continuous = [], continuous_caution } = state.curves;
  const lines = emotions.map((name, place) => ({ name, place, look: tone(result, name) }));
  const scores = drawField(lines, runs, "scores", { low: 0, high: 1 }, `Scores of ${person} over time`, whole_s);
  const drawn = [node("span", { className: "scale", textContent: "scores, 0 to 1" }), scores];
  const scales = {}; // labels of one scale share an axis
  for (const [place, label] of continuous.entries()) {
    const scale = `${label.low} to ${label.high}`;
    scales[scale] = [...(scales[scale] ?? []), { ...label, place }];
  }
  for (const [scale, theirs] of Object.entries(scales)) {
    const own = theirs.map(({ name, place }, number) => ({ name, place, look: `line-${number % 4}` }));
    const named = own.map(({ name, look }) => node("span", { className: `key ${look}`, textContent: name }));
    const about = `${own.map(({ name }) => name).join(" and ")} of ${person} over time`;
    const caption = node("span", { className: "scale", title: continuous_caution }, ...named.flatMap((name) => [name, " "]), scale);
    drawn.push(caption, drawField(own, withValues(runs), "continuous", theirs[0], about, whole_s));
  }
  if (continuous.length) drawn.push(node("span"), node("span", { className: "scale caution", textContent: continuous_caution }));
  return drawn;
}

// Stretches of runs in which continuous labels could be read.
function withValues(runs) {
  return runs.flatMap((run) => {
    const kept = [[]];
    for (const point of run) {
      if (point.continuous) kept.at(-1).push(point);
      else kept.push([]);
    }
    return kept.filter((part) => part.length);
  });
}

function drawField(lines, runs, part, { low, high }, about, whole_s) {
  const x = (time_s) => ((1000 * time_s) / whole_s).toFixed(1);
  const y = (value) => ((100 * (high - value)) / (high - low)).toFixed(1);
  const drawing = vector("svg", { class: "curves", viewBox: "0 0 1000 100", preserveAspectRatio: "none", role: "img", "aria-label": about });
  if (part === "continuous") {
    const zero = y(low < 0 && high > 0 ? 0 : (low + high) / 2);
    drawing.append(vector("line", { x1: 0, x2: 1000, y1: zero, y2: zero }));
  }
  for (const { place, look } of lines) {
    for (const run of runs) {
      const middles = run.map((point) => [(point.start_s + point.end_s) / 2, point[part][place]]);
      const ends = [[run[0].start_s, middles[0][1]], ...middles, [run.at(-1).end_s, middles.at(-1)[1]]];
      const points = ends.map(([time_s, value]) => `${x(time_s)},${y(value)}`).join(" ");
      drawing.append(vector("polyline", { class: look, points }));
    }
  }
  for (const point of runs.flat()) {
    const values = lines.map(({ name, place }) => `${name} ${point[part][place].toFixed(2)}`);
    const column = vector("rect", { x: x(point.start_s), y: 0, width: x(point.end_s - point.start_s), height: 100 });
    column.append(vector("title", {}));
    column.firstChild.textContent = `${clock((point.start_s + point.end_s) / 2)}: ${values.join(", ")}`;
    drawing.append(column);
  }
  return drawing;
}

function drawSegment(result, segment, whole_s) {
  const made = node("button", {
    type: "button",
    className: `segment ${tone(result, segment.label)}${segment.corrected ? " corrected" : ""}`,
    textContent: shortly(segment),
    title: `${shortly(segment)}, ${clock(segment.start_s)} to ${clock(segment.end_s)}`,
    tabIndex: -1,
    dataset: { number: segment.number, start: segment.start_s },
    onclick: () => { choose(segment.number); seek(segment.start_s); },
    onmouseenter: () => { state.hovered = true; showSegment(segment.number); },
    onmouseleave: () => {
      state.hovered = false;
      if (state.rated) showRated();
      else if (state.chosen !== null) showSegment(state.chosen);
    },
    onfocus: () => { choose(segment.number); },
  });
  made.style.left = `${(100 * segment.start_s) / whole_s}%`;
  made.style.width = `${(100 * (segment.end_s - segment.start_s)) / whole_s}%`;
  made.style.setProperty("--sure", segment.confidence ?? 1);
  made.setAttribute("aria-label", inWords(segment));
  return made;
}

// The emotion, or why there is none; on request, what the model would have said.
function shortly(segment) {
  if (segment.label) return segment.label;
  const [guess] = Object.entries(segment.scores).sort((one, other) => other[1] - one[1]);
  return guess && at("guesses").checked ? `${guess[0]}? ${guess[1].toFixed(2)}` : segment.reason;
}

// In one word or two: the emotion, the first reason to abstain, or that nothing is said.
function heading(segment) {
  return segment.label || (segment.abstain ? segment.reason.split("; ")[0] : "nothing said");
}

function inWords(segment) {
  const parts = [heading(segment), `${clock(segment.start_s)} to ${clock(segment.end_s)}`];
  if (segment.label && segment.confidence !== null) parts.push(`confidence ${segment.confidence.toFixed(2)}`);
  if (segment.modality) parts.push(`from ${basis(segment)}`);
  if (segment.reason) parts.push(segment.reason);
  return parts.join(", ");
}

function basis(segment) {
  return segment.modality === "both" ? "face and voice" : segment.modality;
}

function drawAxis() {
  const whole_s = length_s(state.open.result);
  const count = Math.max(1, Math.floor(document.querySelector(".axis").clientWidth / 110));
  const marks = Array.from({ length: count + 1 }, (_, index) => {
    const mark = node("span", { textContent: clock((whole_s * index) / count) });
    mark.style.left = `${(100 * index) / count}%`;
    return mark;
  });
  document.querySelector(".axis").replaceChildren(...marks);
}

function segmentNode(number) {
  return document.querySelector(`.segment[data-number="${number}"]`);
}

// Exactly one segment of each lane is in the tab order: the chosen one, or the first.
function rove() {
  for (const band of document.querySelectorAll(".band")) {
    const all = [...band.children];
    const chosen = all.find(isChosen) ?? all.find((button) => button.tabIndex === 0) ?? all[0];
    for (const button of all) button.tabIndex = button === chosen ? 0 : -1;
  }
}

function isChosen({ dataset }) {
  if (dataset.number !== undefined) return Number(dataset.number) === state.chosen;
  return state.rated !== null && ["rater", "lane", "index"].every((name) => dataset[name] === String(state.rated[name]));
}

function ratedNode(ref) {
  return [...document.querySelectorAll(".segment.rated")].find(({ dataset }) =>
    ["rater", "lane", "index"].every((name) => dataset[name] === String(ref[name])));
}

function chosenNode() {
  return state.rated ? ratedNode(state.rated) : segmentNode(state.shown);
}

function choose(number) {
  state.chosen = number;
  state.rated = null;
  rove();
  showSegment(number);
}

function chooseRated(ref) {
  state.chosen = null;
  state.rated = ref;
  rove();
  showRated();
}

function tierOf(lane, rater = state.rater) {
  return state.open?.result?.raters.find((tier) => tier.lane === lane && tier.rater === rater)?.segments ?? [];
}

function showRated() {
  const { result } = state.open, { rater, lane, index } = state.rated;
  const part = tierOf(lane, rater)[index];
  if (!part) {
    state.rated = null;
    showSegment(firstAnswer(result));
    return;
  }
  state.shown = null;
  for (const element of document.querySelectorAll(".segment.shown")) element.classList.remove("shown");
  ratedNode(state.rated)?.classList.add("shown");
  at("said").textContent = part.label[0].toUpperCase() + part.label.slice(1);
  at("when").textContent = [result.persons[lane], `${clock(part.start_s)} to ${clock(part.end_s)}`, `rated by ${rater}`].join(" · ");
  at("scores").replaceChildren();
  for (const id of ["why-not", "correction", "explained"]) at(id).hidden = true;
  at("editing").hidden = rater !== state.rater;
  drawEditing(result, part, index === tierOf(lane, rater).length - 1);
  keepHeight(at("details"));
}

function drawEditing(result, part, isLast) {
  at("label").replaceChildren(...[...result.emotions, UNSURE].map((label) => node("option", { value: label, textContent: label })));
  at("label").value = part.label;
  at("from").value = part.start_s.toFixed(2);
  at("to").value = part.end_s.toFixed(2);
  for (const id of ["from", "to"]) at(id).max = length_s(result);
  at("merge").disabled = isLast;
  at("undo").disabled = !state.undo.length;
  drawSplit(part);
}

function drawSplit(part) {
  const time_s = player().currentTime;
  at("split").textContent = `Split at ${clock(time_s)}`;
  at("split").disabled = !canSplit(part, time_s);
}

function showSegment(number) {
  state.shown = number;
  for (const element of document.querySelectorAll(".segment.shown")) element.classList.remove("shown");
  const result = state.open?.result;
  const segment = result?.segments[number];
  if (!segment) return;
  segmentNode(number)?.classList.add("shown");
  const confidence = !segment.label || segment.confidence === null ? "" : ` ${segment.confidence.toFixed(2)}`;
  const said = heading(segment);
  at("said").textContent = said[0].toUpperCase() + said.slice(1) + confidence;
  at("when").textContent = [
    segment.person, `${clock(segment.start_s)} to ${clock(segment.end_s)}`, segment.modality && `from ${basis(segment)}`,
  ].filter(Boolean).join(" · ");
  at("why-not").textContent = segment.reason;
  at("why-not").hidden = !segment.reason;
  const sorted = Object.entries(segment.scores).sort((one, other) => other[1] - one[1]);
  at("scores").replaceChildren(...sorted.map(([emotion, score]) => {
    const bar = node("i", { className: tone(result, emotion) });
    bar.style.setProperty("--share", score);
    return node("li", { className: emotion === segment.label ? "top" : "" },
      node("span", { textContent: emotion }), node("span", { className: "bar-of", ariaHidden: "true" }, bar),
      node("span", { className: "number", textContent: score.toFixed(2) }));
  }));
  at("correction").hidden = false;
  at("editing").hidden = true;
  at("rate").onclick = () => rate(segment);
  at("why").hidden = !sizeOf(segment.scores);
  at("why").onclick = () => explain(segment.number);
  drawExplanation(segment.number);
  keepHeight(at("details"));
}

// What a segment rests on

async function explain(number) {
  const { id } = state.open;
  const box = at("explained");
  box.replaceChildren(node("p", { className: "muted", textContent: "Parts of the recording are taken away, and the model is asked again…" }));
  box.hidden = false;
  at("why").disabled = true;
  const explanation = await tried(() => ask(`/predictions/${id}/segments/${number}/explanation`));
  at("why").disabled = false;
  if (state.open?.id !== id) return;
  if (explanation) state.explained[number] = explanation;
  drawExplanation(state.shown);
}

function drawExplanation(number) {
  const explanation = state.explained[number];
  at("explained").hidden = !explanation;
  at("explained").replaceChildren(...(explanation ? [
    node("div", {},
      node("h3", { textContent: `Why ${explanation.label}, ${clock(explanation.start_s)} to ${clock(explanation.end_s)}?` }),
      node("p", { className: "muted", textContent: `Its probability is ${explanation.score.toFixed(2)}. Parts of the recording were taken away; what is lost spoke for it (blue), what is won against it (red).` }),
      ...explanation.streams.flatMap((stream) => drawStream(explanation, stream))),
    drawNeighbours(explanation.neighbours),
  ] : []));
}

function drawStream(explanation, stream) {
  const moments = explanation.moments.filter((moment) => moment.stream === stream.stream);
  const most = Math.max(0.01, ...moments.map((moment) => Math.abs(moment.lost)));
  const parts = [node("p", { textContent: `without the ${stream.stream}: ${(explanation.score - stream.lost).toFixed(2)}` })];
  if (moments.length > 1) {
    const strip = node("div", { className: "moments" }, ...moments.map((moment) => {
      const bar = node("i", { className: moment.lost < 0 ? "against" : "", title: `without ${clock(moment.start_s)} to ${clock(moment.end_s)}: ${(explanation.score - moment.lost).toFixed(2)}` });
      bar.style.setProperty("--share", Math.abs(moment.lost) / most);
      return bar;
    }));
    const top = moments.reduce((one, other) => (other.lost > one.lost ? other : one));
    strip.setAttribute("role", "img");
    strip.setAttribute("aria-label", `${stream.stream} counts most from ${clock(top.start_s)} to ${clock(top.end_s)}`);
    parts.push(strip);
  }
  return parts;
}

function drawNeighbours(neighbours) {
  if (!neighbours.length) return "";
  const rows = neighbours.map((neighbour) =>
    node("tr", {}, ...[neighbour.emotion, neighbour.similarity.toFixed(2), neighbour.clip_id, neighbour.culture || neighbour.corpus].map((text) => node("td", { textContent: text }))));
  const heads = ["emotion", "likeness", "clip", "group"].map((text) => node("th", { textContent: text, scope: "col" }));
  return node("div", {}, node("h3", { textContent: "Nearest training clips" }),
    node("table", {}, node("thead", {}, node("tr", {}, ...heads)), node("tbody", {}, ...rows)));
}

function sizeOf(object) {
  return Object.keys(object).length;
}

// What people change

async function change(body, said) {
  await saving;
  const changed = await tried(() => ask(`/predictions/${state.open.id}`, { method: "PATCH", body }));
  if (changed) {
    state.open = changed;
    announce(said);
  }
  draw(false);
}

function rename(lane, input) {
  const name = input.value.trim();
  return change({ persons: { [lane]: name && name !== lane ? name : null } }, `${lane} is now ${name || lane}`);
}

// The name under which this browser rates: asked for once, changed with the button.
async function askForRater() {
  const dialog = at("ask-rater");
  at("rater-name").value = state.rater;
  dialog.returnValue = "";
  dialog.showModal();
  await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
  const name = at("rater-name").value.trim();
  if (dialog.returnValue !== "yes" || !name) return;
  state.rater = name;
  state.undo = [];
  localStorage.setItem("rater", name);
  if (state.open?.result) draw(false);
}

// Go to a stretch of one's own tier, which begins as a copy of the model's segments.
async function rate(segment) {
  if (!state.rater) await askForRater();
  if (!state.rater) return;
  const { lane } = segment;
  if (!tierOf(lane).length) {
    const tier = copied(state.open.result.segments.filter((part) => part.lane === lane));
    saveTier(lane, tier, `A tier of ${state.rater} begins as a copy of the model's segments`);
  }
  const middle_s = (segment.start_s + segment.end_s) / 2;
  const index = tierOf(lane).findIndex((part) => middle_s < part.end_s);
  state.rated = { rater: state.rater, lane, index: index < 0 ? tierOf(lane).length - 1 : index };
  ratedNode(state.rated)?.focus();
}

// Tiers by recording and lane that are on the page and not yet on the server.
const unsaved = new Map();
let saving = Promise.resolve();

// Shown at once and sent; while one change is on its way, only the newest of the next ones is.
function saveTier(lane, segments, said, { isUndone = false } = {}) {
  const { id, result } = state.open, before = tierOf(lane);
  if (!isUndone) state.undo.push({ lane, segments: before });
  const tier = { rater: state.rater, lane, segments };
  const others = result.raters.filter((other) => other.rater !== state.rater || other.lane !== lane);
  result.raters = segments.length ? [...others, tier] : others;
  if (!unsaved.has(id)) unsaved.set(id, new Map());
  unsaved.get(id).set(lane, tier);
  draw(false);
  saving = saving.then(() => sendTiers(id, said));
}

async function sendTiers(id, said) {
  const tiers = unsaved.get(id);
  if (!tiers) return;
  unsaved.delete(id);
  if (await tried(() => ask(`/predictions/${id}`, { method: "PATCH", body: { raters: [...tiers.values()] } }))) {
    announce(said);
    return;
  }
  // What the server refused is not shown as if it were kept.
  unsaved.delete(id);
  if (state.open?.id !== id) return;
  state.undo = [];
  await openAgain(id);
}

async function openAgain(id) {
  const answer = await ask(`/predictions/${id}`).catch(() => null);
  if (answer && state.open?.id === id) state.open = answer;
  draw(false);
}

function undo() {
  const last = state.undo.pop();
  if (last) saveTier(last.lane, last.segments, "Undone", { isUndone: true });
}

// One change of the tier of the chosen stretch, which stays chosen.
function edit(change, said) {
  const { lane } = state.rated;
  const before = tierOf(lane), after = change(before, state.rated.index);
  if (after === before) showRated();
  else saveTier(lane, after, said);
}

const border = (edge, time_s) => edit((tier, index) =>
  (Number.isFinite(time_s) ? moved(tier, index, edge, time_s, length_s(state.open.result)) : tier), "Border moved");
const nudge = (by_s) => border("end", tierOf(state.rated.lane)[state.rated.index].end_s + by_s);
const splitHere = () => edit((tier, index) => split(tier, index, player().currentTime), `Split at ${clock(player().currentTime)}`);
const mergeNext = () => edit(merged, "Merged with the next segment");

function editByKey(event) {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (key === "z" && (event.ctrlKey || event.metaKey)) return undo;
  if (event.ctrlKey || event.metaKey || event.altKey) return null;
  if (event.shiftKey && key === "ArrowLeft") return () => nudge(-NUDGE_S);
  if (event.shiftKey && key === "ArrowRight") return () => nudge(NUDGE_S);
  const actions = {
    s: splitHere, m: mergeNext,
    "[": () => border("start", player().currentTime), "]": () => border("end", player().currentTime),
  };
  return actions[key] ?? null;
}

function drag(event) {
  if (!event.target.classList.contains("grip") || event.button !== 0) return;
  const grip = event.target, made = grip.parentElement, band = made.parentElement;
  const { lane } = made.dataset, index = Number(made.dataset.index);
  const before = tierOf(lane), whole_s = length_s(state.open.result), box = band.getBoundingClientRect();
  let after = before;
  grip.setPointerCapture(event.pointerId);
  grip.onpointermove = ({ clientX }) => {
    after = moved(before, index, grip.dataset.edge, ((clientX - box.left) / box.width) * whole_s, whole_s);
    place(band, after, whole_s);
    at("when").textContent = `${clock(after[index].start_s)} to ${clock(after[index].end_s)}`;
  };
  grip.onpointerup = grip.onpointercancel = ({ type }) => {
    grip.onpointermove = grip.onpointerup = grip.onpointercancel = null;
    if (type === "pointerup" && after !== before) {
      state.chosen = null;
      state.rated = { rater: state.rater, lane, index };
      saveTier(lane, after, "Border moved");
    } else if (after !== before) draw(false);
  };
}

// In step with the recording

function seek(time_s) {
  player().currentTime = time_s + 0.001;
  follow();
}

function follow() {
  const result = state.open?.result;
  if (!result) return;
  const time_s = player().currentTime;
  const share = Math.min(1, time_s / length_s(result));
  at("lanes").style.setProperty("--at", share);
  for (const segment of result.segments) {
    segmentNode(segment.number)?.classList.toggle("now", segment.start_s <= time_s && time_s < segment.end_s);
  }
  for (const element of document.querySelectorAll(".segment.rated")) {
    element.classList.toggle("now", Number(element.dataset.start) <= time_s && time_s < Number(element.dataset.end));
  }
  const rated = state.rated && tierOf(state.rated.lane, state.rated.rater)[state.rated.index];
  if (rated) drawSplit(rated);
  if (player().paused) return;
  keepInSight(share);
  if (state.hovered || at("details").contains(document.activeElement)) return;
  const lane = result.segments[state.shown]?.lane;
  const current = result.segments.find((segment) => segment.lane === lane && segment.start_s <= time_s && time_s < segment.end_s);
  if (current && current.number !== state.shown) showSegment(current.number);
}

function keepInSight(share) {
  const scroll = at("scroll"), band = document.querySelector(".band");
  if (!band || scroll.scrollWidth <= scroll.clientWidth) return;
  const x = band.offsetLeft + band.offsetWidth * share;
  if (x < scroll.scrollLeft + band.offsetLeft || x > scroll.scrollLeft + scroll.clientWidth - 40) {
    scroll.scrollLeft = x - band.offsetLeft - 40;
  }
}

function playOn() {
  follow();
  if (!player().paused) requestAnimationFrame(playOn);
}

// Keys and pointers

function neighbour(from, key) {
  const all = [...from.parentElement.children];
  const place = all.indexOf(from);
  if (key === "ArrowRight") return all[place + 1];
  if (key === "ArrowLeft") return all[place - 1];
  if (key === "Home") return all[0];
  if (key === "End") return all.at(-1);
  const bands = [...document.querySelectorAll(".band")];
  const band = bands[bands.indexOf(from.parentElement) + (key === "ArrowDown" ? 1 : -1)];
  if (!band) return null;
  const away = (element) => Math.abs(element.dataset.start - from.dataset.start);
  return [...band.children].sort((one, other) => away(one) - away(other))[0];
}

function listen() {
  at("lanes").addEventListener("keydown", (event) => {
    if (!event.target.classList.contains("segment")) return;
    const change = event.target.classList.contains("own") ? editByKey(event) : null;
    if (change) {
      event.preventDefault();
      change();
      return;
    }
    if (!["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End"].includes(event.key)) return;
    event.preventDefault();
    neighbour(event.target, event.key)?.focus();
  });
  at("lanes").addEventListener("pointerdown", drag);
  at("rater").addEventListener("click", askForRater);
  at("rater-cancel").addEventListener("click", () => at("ask-rater").close());
  at("others").addEventListener("change", () => { if (state.open?.result) draw(false); });
  at("label").addEventListener("change", () => edit((tier, index) => relabelled(tier, index, at("label").value), `Rated as ${at("label").value}`));
  at("from").addEventListener("change", () => border("start", at("from").valueAsNumber));
  at("to").addEventListener("change", () => border("end", at("to").valueAsNumber));
  // A button that can do no more is off and loses the focus: the keyboard goes on at the segment.
  const actions = { split: splitHere, merge: mergeNext, undo, discard: () => edit(() => [], "Your tier is discarded") };
  for (const [id, act] of Object.entries(actions)) {
    at(id).addEventListener("click", () => {
      act();
      (chosenNode() ?? at("rater")).focus();
    });
  }
  at("guesses").addEventListener("change", () => { if (state.open?.result) drawLanes(state.open.result); });
  at("zoom").addEventListener("input", () => {
    at("lanes").style.setProperty("--zoom", at("zoom").value);
    if (state.open?.result) drawAxis();
  });
  at("delete").addEventListener("click", () => remove(state.open));
  for (const kind of ["video", "audio"]) {
    at(kind).addEventListener("play", playOn);
    at(kind).addEventListener("seeked", follow);
    at(kind).addEventListener("timeupdate", follow);
    at(kind).addEventListener("error", () => {
      if (!at(kind).hasAttribute("src")) return;
      at(kind).hidden = true;
      at("unplayable").hidden = false;
    });
  }
  const menu = at("downloads");
  document.addEventListener("click", (event) => { if (!menu.contains(event.target)) menu.open = false; });
  menu.addEventListener("keydown", (event) => {
    if (event.key === "Escape") { menu.open = false; menu.querySelector("summary").focus(); }
  });
  at("file").addEventListener("change", () => send([...at("file").files]));
  document.addEventListener("dragover", (event) => { event.preventDefault(); at("drop").classList.add("over"); });
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) at("drop").classList.remove("over"); });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    at("drop").classList.remove("over");
    send([...event.dataTransfer.files]);
  });
  new ResizeObserver(() => { if (state.open?.result) drawAxis(); }).observe(at("scroll"));
  window.addEventListener("resize", () => {
    at("details").style.minHeight = "";
    keepHeight(at("details"));
  });
  window.addEventListener("hashchange", () => {
    const id = location.hash.slice(1);
    if (id && id !== state.open?.id) open(id);
  });
}

async function send(files) {
  at("problem").hidden = true;
  for (const file of files) await upload(file);
  at("file").value = "";
}

async function start() {
  listen();
  state.health = await ask("/health");
  const { model, version, emotions, notice, use_limits, max_size_mb, max_duration_s, keep_minutes } = state.health;
  at("model").textContent = `${model} · ${emotions.length} emotions · version ${version}`;
  at("limits").textContent = use_limits;
  at("notice").textContent = notice;
  at("notice").hidden = !notice;
  at("live").hidden = !state.health.live;
  at("accepts").textContent =
    `Video or sound, up to ${max_size_mb} MB and ${Math.round(max_duration_s / 60)} min. Kept for ${keep_minutes} min.`;
  await refresh();
  const id = location.hash.slice(1);
  if (state.recordings.some((recording) => recording.id === id)) await open(id);
}

start();
