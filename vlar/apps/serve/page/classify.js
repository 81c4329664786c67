// Classifying a video that is dropped on the page: one answer, or answers over time as a curve.

import { $, busy, clock, dropPlace, el, isolated, lines, percent, post, showProblem, upload } from "./api.js";
import { draw, sample } from "./curve.js";
import { collect } from "./collected.js";

const CURVES = 4;
let current = null; // { file, id, url }
let stop = null, head = null;

export function setUp() {
  dropPlace($("drop"), $("file"), (files) => take(files[0]));
  $("classify-form").addEventListener("submit", (event) => {
    event.preventDefault();
    busy($("classify-form").querySelector("button.main"), classify);
  });
  $("classify-cancel").addEventListener("click", () => stop?.abort());
  $("model").addEventListener("change", showLabelsNeeded);
  $("preview").addEventListener("timeupdate", () => head?.head($("preview").currentTime));
  $("preview").addEventListener("error", () => { $("preview").hidden = true; });
}

export function showLibrary({ models }, chosen) {
  showModels($("model"), models, chosen);
  showLabelsNeeded();
}

export function showModels(select, models, chosen = select.value) {
  select.replaceChildren(...models.map((each) => el("option", { value: each.name }, each.adapted ? `${each.name} (adapted)` : `${each.model} (the library's)`)));
  if (models.some((each) => each.name === chosen)) select.value = chosen;
}

export function open(values) {
  if (!values.get("model")) return;
  $("model").value = values.get("model");
  showLabelsNeeded();
}

function showLabelsNeeded() {
  const own = $("model").value !== "library";
  $("labels").placeholder = own ? "none: the labels that it learned" : "riding a bike, cooking, playing the piano";
}

function take(file) {
  if (!file) return;
  if (current?.url) URL.revokeObjectURL(current.url);
  current = { file, id: null, url: URL.createObjectURL(file) };
  $("preview").src = current.url;
  $("preview").hidden = false;
  $("file-line").textContent = `${isolated(file.name)}, ${(file.size / 1e6).toFixed(1)} MB`;
  clear();
}

function clear() {
  for (const name of ["classify-answers", "classify-curve"]) $(name).replaceChildren();
  $("classify-status").textContent = "";
  head = null;
}

const split = (text) => text.split(/[,\n]/).map((label) => label.trim()).filter(Boolean);

async function classify() {
  showProblem($("classify-problem"), null);
  clear();
  if (!current) return showProblem($("classify-problem"), { message: "Choose a video first." });
  const labels = split($("labels").value), model = $("model").value, every = $("every").value;
  if (!labels.length && model === "library") return showProblem($("classify-problem"), { message: "Write at least one label." });
  try {
    if (!current.id) {
      $("file-progress").hidden = false;
      $("classify-status").textContent = "Uploading …";
      current.id = (await upload(current.file, (share) => { $("file-progress").value = share; })).id;
    }
    $("classify-status").textContent = "Looking …";
    const body = { source: { upload: current.id }, model, top: every ? 100 : 10, ...(labels.length ? { labels } : {}) };
    if (every) await overTime({ ...body, every_s: Number(every) });
    else whole(await post("api/classify", body));
  } catch (problem) {
    if (problem.status === 404) current.id = null; // uploads do not last
    $("classify-status").textContent = "";
    showProblem($("classify-problem"), problem);
  } finally {
    $("file-progress").hidden = true;
    if (matchMedia("(max-width: 59.99rem)").matches) $("classify-status").scrollIntoView({ block: "center" });
  }
}

// One answer: the verdict in words; figures only where it is one.

function verdict(answer) {
  const best = answer.predictions[0];
  const words = answer.notes?.find((note) => note.startsWith("unsure: ")); // words say too little
  if (words) return words[0].toUpperCase() + words.slice(1);
  if (answer.verdict === "yes") return `Yes: ${best.label}, ${percent(best.probability)}`;
  if (answer.verdict) return answer.verdict === "no" ? `No: not ${best.label}` : `Unsure: perhaps ${best.label}`;
  if (answer.unknown) return "Unknown: nothing in the list fits";
  if (answer.unknown_probability > best.probability) return `Unsure: perhaps ${best.label}`;
  return `${best.label}, ${percent(best.probability)}`;
}

const isSure = (answer) => answer.verdict === "yes" || (!answer.verdict && !answer.unknown && answer.unknown_probability <= answer.predictions[0].probability);

function whole({ answers: [answer], note }) {
  $("classify-status").textContent = verdict(answer);
  const rows = [...answer.predictions.map((each) => [each.label, each.probability]), ["(unknown)", answer.unknown_probability]];
  const bars = el("div", { class: "answers" }, ...rows.map(([label, value]) =>
    el("div", { class: "answer-row" }, el("span", {}, label), el("meter", { min: 0, max: 1, value, "aria-label": label }), el("b", {}, percent(value)))));
  const shown = isSure(answer) ? bars : el("details", {}, el("summary", {}, "How near each label comes"), bars);
  $("classify-answers").replaceChildren(shown, el("p", { class: "actions" }, example(answer)), ...[...(answer.notes ?? []), ...(note ? [note] : [])].map((text) => el("p", { class: "quiet" }, text)));
}

function example(answer) {
  const moment = { upload: current.id, name: current.file.name, start_s: answer.start_s, end_s: answer.end_s };
  const button = el("button", { type: "button", class: "small", onclick: () => {
    collect([moment], answer.label ?? "", (count) => {
      button.textContent = `Added ✓ ${count}`;
      setTimeout(() => { button.textContent = "Use as example"; }, 2500);
    });
  } }, "Use as example");
  return button;
}

// Answers over time

async function overTime(body) {
  const answers = [], failed = [];
  let total = null, problem = null;
  stop = new AbortController();
  $("classify-cancel").hidden = $("classify-progress").hidden = false;
  $("classify-progress").value = 0;
  try {
    await lines("api/classify/parts", body, (row) => {
      if ("total" in row) total = row.total;
      else if (row.problem) problem = row.problem;
      else (row.error ? failed : answers).push(row);
      const done = answers.length + failed.length;
      if (total) $("classify-progress").value = done / total;
      $("classify-status").textContent = total ? `${done} of ${total} answers` : `${done} answers`;
      if (answers.length && (done % 5 === 0 || done === total)) curve(answers);
    }, stop.signal);
  } catch (error) {
    if (error.name !== "AbortError") throw error;
  } finally {
    $("classify-cancel").hidden = $("classify-progress").hidden = true;
  }
  if (problem) showProblem($("classify-problem"), { body: problem });
  else if (failed.length) showProblem($("classify-problem"), { message: failed[0].error.message });
  if (!answers.length) {
    $("classify-status").textContent = "";
    return;
  }
  curve(answers);
  const cancelled = stop.signal.aborted ? ", cancelled" : "";
  $("classify-status").textContent = `${answers.length} answers over time${cancelled}${answers[0].calibrated ? "" : "; percentages follow a general rule"}`;
}

function curve(answers) {
  const best = new Map();
  for (const answer of answers) for (const each of answer.predictions) best.set(each.label, Math.max(best.get(each.label) ?? 0, each.probability));
  const names = [...best].sort((a, b) => b[1] - a[1]).slice(0, CURVES).map(([name]) => name);
  const windows = answers.map((answer) => [answer.start_s, answer.end_s]);
  const values = (name) => answers.map((answer) => answer.predictions.find((each) => each.label === name)?.probability ?? 0);
  const end_s = Math.max(...windows.map((each) => each[1]), $("preview").duration || 0);
  const place = $("classify-curve");
  head = draw(place, { end_s, curves: names.map((name) => ({ name, windows, values: values(name) })), seek });
  place.append(el("ul", { class: "legend row" }, ...names.map((name, at) => el("li", {}, sample(at), el("span", {}, name)))));
  $("classify-answers").replaceChildren(el("ul", { class: "chips segments", "aria-label": "Answers over time" }, ...segments(answers).map(segment)));
}

// Neighbours with one answer are one segment.
function segments(answers) {
  const found = [];
  for (const answer of answers) {
    const label = isSure(answer) ? answer.predictions[0].label : answer.unknown ? "unknown" : "unsure";
    const last = found.at(-1);
    if (last?.label === label) last.end_s = answer.end_s;
    else found.push({ label, start_s: answer.start_s, end_s: answer.end_s });
  }
  return found;
}

function segment({ label, start_s, end_s }) {
  return el("li", {}, el("button", { type: "button", class: "small chip", "aria-label": `Play ${label} at ${clock(start_s)}`, onclick: () => seek(start_s) }, `${clock(start_s)} to ${clock(end_s)} · ${label}`));
}

function seek(seconds) {
  $("preview").currentTime = seconds;
  $("preview").play().catch(() => {});
}
