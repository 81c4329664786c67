// window.vlar: classify(File | HTMLVideoElement) and timeline(...); the page around them.

import { deviation, prepared } from "./pixels.js";
import { openCamera, openFile } from "./video.js";

const UNKNOWN = "unknown", BLANK = 4, FEWEST_SAMPLES = 4, MOST_KEPT = 256;
const $ = (id) => document.getElementById(id);
const percent = (share) => `${Math.round(share * 100)} %`;

async function offline(version) { // the worker keeps what is fetched through it
  if (!("serviceWorker" in navigator)) return;
  await navigator.serviceWorker.register(`offline.js?${version}`).catch(() => {});
  if (navigator.serviceWorker.controller) return;
  await new Promise((done) => { navigator.serviceWorker.addEventListener("controllerchange", done); setTimeout(done, 3000); });
}

async function load() {
  const card = await (await fetch("card.json", { cache: "no-cache" })).json();
  await offline(card.version);
  const wanted = new URLSearchParams(location.search).get("on"), gpu = wanted !== "wasm" && (await navigator.gpu?.requestAdapter().catch(() => null));
  let device = gpu ? "webgpu" : "wasm";
  const ort = await import(`./runtime/ort.${device}.min.mjs`);
  ort.env.wasm.wasmPaths = new URL("runtime/", document.baseURI).href;
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency) : 1;
  const open = async (name, on) => {
    $("status").textContent = `loading ${name} (${Math.ceil(card.bytes[name] / 1e6)} MB, once)`;
    const bytes = await (await fetch(`${name}?${card.version}`)).arrayBuffer();
    const made = (where) => ort.InferenceSession.create(bytes.slice(0), { executionProviders: [where] });
    return on === "wasm" ? made(on) : made(on).catch(() => made((device = "wasm")));
  };
  const towers = [];
  for (const [at] of card.towers.entries()) towers.push(await open(`model/tower${at}.onnx`, device));
  const answer = await open("model/answer.onnx", "wasm");
  $("status").textContent = `ready, on ${device === "webgpu" ? "the graphics card" : "the processor"}; works without a network from now on`;
  return { card, ort, towers, answer };
}

const model = load();
model.catch((error) => { $("status").textContent = `cannot be loaded: ${error.message}`; });
let turn = Promise.resolve(); // one run at a time
const inTurn = (work) => (turn = turn.then(work, work));

// Outputs of the towers for a picture, one after the other.
async function outputsOf({ card, ort, towers }, picture) {
  const rows = {};
  for (const [at, session] of towers.entries()) {
    const { width, height } = card.towers[at];
    const pixels = new ort.Tensor("float32", prepared(picture, card.towers[at]), [1, 3, height, width]);
    const outputs = await session.run({ [session.inputNames[0]]: pixels });
    for (const name of card.outputs) rows[`${name}${at}`] = outputs[name].data.slice();
  }
  return rows;
}

const sampleTimes = ([begin, end], count) => Array.from({ length: count }, (_, n) => begin + ((n + 0.5) / count) * (end - begin));

// Answers about spans of one source; frames that several spans share are judged once.
async function judge(source) {
  const ready = await model, { card, ort, answer } = ready, remembered = new Map();
  const look = async (time_s, whole) => {
    const { picture, time_s: shown_s } = await source.frame(time_s);
    const entry = remembered.get(shown_s) ?? { shown_s, deviation: deviation(picture) };
    if (whole && !entry.rows) {
      entry.rows = await outputsOf(ready, picture);
      await new Promise((done) => setTimeout(done)); // the page draws
    }
    if (remembered.size > MOST_KEPT) remembered.delete(remembered.keys().next().value);
    remembered.set(shown_s, entry);
    return entry;
  };
  return async function span(window, trim, progress) {
    const times = sampleTimes(window, card.frames), shown = [];
    for (const [n, time_s] of times.entries()) {
      const read = card.rows.includes(n);
      shown.push(read || trim ? await look(time_s, read) : null);
      progress?.((n + 1) / times.length);
    }
    const inner = trim && contentSpan(shown, window);
    if (inner) return span(inner, false, progress);
    const feeds = {};
    for (const name of answer.inputNames) {
      const rows = card.rows.map((n) => shown[n].rows[name]), width = rows[0].length, data = new Float32Array(rows.length * width);
      rows.forEach((row, at) => data.set(row, at * width));
      feeds[name] = new ort.Tensor("float32", data, [rows.length, width]);
    }
    const shares = Array.from((await answer.run(feeds)).probabilities.data);
    return { labels: [...card.labels], unknown: shares.pop(), probabilities: shares };
  };
}

// The span between blank pictures at the ends of a recording; null where it has none there.
function contentSpan(shown, [begin_s, end_s]) {
  const count = shown.length, full = shown.map((entry) => entry.deviation >= BLANK);
  const first = full.indexOf(true), last = full.lastIndexOf(true);
  if (count < FEWEST_SAMPLES || first < 0 || last - first + 1 > count - 2) return null;
  const half_s = (shown[count - 1].shown_s - shown[0].shown_s) / (count - 1) / 2;
  const from_s = first ? shown[first].shown_s - half_s : begin_s, to_s = last < count - 1 ? shown[last].shown_s + half_s : end_s;
  return [Math.max(begin_s, from_s), Math.min(end_s, to_s)];
}

async function open(source) {
  const { card } = await model;
  if (source instanceof HTMLVideoElement) {
    if (source.srcObject) return openCamera(source, card.shorter_side, card.frames);
    source = await (await fetch(source.currentSrc)).blob();
  }
  return openFile(source, card.shorter_side);
}

const withSource = (source, work) => inTurn(async () => {
  const opened = await open(source);
  return judge(opened).then((span) => work(span, opened.duration_s)).finally(() => opened.close());
});

window.vlar = {
  model: model.then(({ card }) => card),
  // The answer about a recording as a whole: `vlar classify FILE`.
  classify: (source, progress) => withSource(source, (span, duration_s) => span([0, duration_s], true, progress)),
  // The answers about every so many seconds: `vlar classify FILE --every 2s`.
  timeline: (source, every_s = 2, each = () => {}) => withSource(source, async (span, duration_s) => {
    const rows = [];
    for (const [start_s, end_s] of windows(duration_s, every_s)) {
      rows.push({ start_s, end_s, ...(await span([start_s, end_s], false)) });
      each(rows, duration_s);
    }
    return rows;
  }),
};

function windows(duration_s, length_s) { // vlar.media.video.sample.windows
  if (duration_s <= length_s) return [[0, duration_s]];
  const count = Math.floor((duration_s - length_s) / length_s + 1e-9) + 1;
  const spans = Array.from({ length: count }, (_, n) => [n * length_s, (n + 1) * length_s]);
  if (duration_s - count * length_s > 0.01 * length_s) spans.push([duration_s - length_s, duration_s]);
  return spans;
}

// The page

const COLOURS = 4;
const made = (name, facts, ...inside) => {
  const element = Object.assign(document.createElement(name), facts);
  element.append(...inside);
  return element;
};

function show({ labels, probabilities, unknown }, card) {
  const rows = labels.map((label, at) => [label, probabilities[at]]).sort((a, b) => b[1] - a[1]);
  const best = rows[0], isUnknown = unknown > 0.5, unsure = card.unsure[""] ?? card.unsure[best[0]];
  $("verdict").textContent = isUnknown ? UNKNOWN : best[0];
  $("remark").textContent = unsure ?? (isUnknown ? "none of the labels fits" : `${percent(best[1])}`);
  $("bars").replaceChildren(...[...rows, [UNKNOWN, unknown]].map(([label, share]) => made("li", { className: label === UNKNOWN ? "none" : "" },
    made("span", {}, label), made("meter", { value: share, max: 1, ariaLabel: label }), made("b", {}, percent(share)))));
  $("answer").hidden = false;
}

function draw(rows, duration_s) {
  const mean = rows[0].labels.map((_, at) => rows.reduce((sum, row) => sum + row.probabilities[at], 0));
  const best = mean.map((_, at) => at).sort((a, b) => mean[b] - mean[a]).slice(0, COLOURS);
  const curves = [...best.map((at) => [rows[0].labels[at], (row) => row.probabilities[at]]), [UNKNOWN, (row) => row.unknown]];
  const line = (value) => rows.map((row) => `${(((row.start_s + row.end_s) / 2 / duration_s) * 600).toFixed(1)},${(110 - value(row) * 100).toFixed(1)}`);
  $("curve").replaceChildren(...curves.map(([, value], at) => {
    const points = line(value), shape = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
    shape.setAttribute("points", [`0,${points[0].split(",")[1]}`, ...points].join(" "));
    shape.setAttribute("class", at === curves.length - 1 ? "none" : `curve-${at}`);
    return shape;
  }));
  $("legend").replaceChildren(...curves.map(([name], at) => made("li", { className: at === curves.length - 1 ? "none" : `curve-${at}` }, name)));
  $("time").textContent = `0 to ${duration_s.toFixed(1)} s`;
  $("over-time").hidden = false;
}

let asked = 0;
async function run(source) {
  const number = ++asked, { card } = await model, mine = () => number === asked;
  $("problem").textContent = "";
  $("over-time").hidden = $("answer").hidden = true;
  $("progress").hidden = false;
  try {
    const answer = await window.vlar.classify(source, (share) => { if (mine()) $("progress").value = share; });
    if (mine()) show(answer, card);
    if (mine() && source instanceof File) await window.vlar.timeline(source, 2, (rows, duration_s) => mine() && duration_s > 2 && draw(rows, duration_s));
  } catch (error) {
    if (mine()) $("problem").textContent = `No answer: ${error.message}`;
  } finally {
    if (mine()) $("progress").hidden = true;
  }
}

function take(file) {
  if (!file) return;
  const player = $("player");
  stopCamera();
  if (player.src) URL.revokeObjectURL(player.src);
  Object.assign(player, { src: URL.createObjectURL(file), controls: true, hidden: false });
  run(file);
}

function stopCamera() {
  for (const track of $("player").srcObject?.getTracks() ?? []) track.stop();
  $("player").srcObject = null;
  $("camera").textContent = "Use the camera";
}

async function camera() {
  const player = $("player"), wanted = { video: { facingMode: "environment" } };
  if (player.srcObject) return stopCamera();
  player.srcObject = await navigator.mediaDevices.getUserMedia(wanted).catch((error) => { $("problem").textContent = `No camera: ${error.message}`; });
  if (!player.srcObject) return;
  $("camera").textContent = "Stop the camera";
  Object.assign(player, { hidden: false, controls: false });
  await player.play();
  while (player.srcObject) await run(player);
}

$("file").addEventListener("change", (event) => take(event.target.files[0]));
$("camera").addEventListener("click", camera);
$("camera").hidden = !navigator.mediaDevices;
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => { event.preventDefault(); take(event.dataTransfer.files[0]); });
model.then(({ card }) => {
  document.title = $("name").textContent = `${card.labels.length} labels, by ${card.model}`;
  $("labels").textContent = card.labels.join(", ");
  const rows = { model: card.model, encoder: card.encoder, fingerprint: card.fingerprint, licence: card.licence, "made by": `vlar ${card.vlar}`, "the same in a terminal": card.command, probabilities: card.calibrated ? "calibrated, or by fitted constants" : "by a rule, not calibrated" };
  $("facts").replaceChildren(...Object.entries(rows).flatMap(([name, value]) => [made("dt", {}, name), made("dd", {}, value)]));
  $("card-text").textContent = card.card;
  $("file").disabled = $("camera").disabled = false;
});
