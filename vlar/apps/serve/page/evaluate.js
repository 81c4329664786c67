// Evaluating a model: a confusion matrix whose cells open their recordings.

import { $, busy, el, get, percent, post, showProblem } from "./api.js";
import * as address from "./address.js";
import { follow } from "./jobs.js";
import { play } from "./player.js";
import { tile } from "./tiles.js";

const UNKNOWN = "(unknown)";

export function setUp() {
  $("evaluate-form").addEventListener("submit", (event) => {
    event.preventDefault();
    busy($("evaluate-form").querySelector("button.main"), evaluate);
  });
}

export function showKeys(keys) {
  const kept = $("evaluate-tag").value;
  $("evaluate-tag").replaceChildren(...keys.map((key) => el("option", { value: key }, key)));
  if (keys.includes(kept)) $("evaluate-tag").value = kept;
}

export async function restore(values) {
  if (values.get("model")) $("evaluate-model").value = values.get("model");
  const job = values.get("job");
  if (job && /^[0-9a-f]{16}$/.test(job)) await run(() => get(`/api/jobs/${job}`));
}

function evaluate() {
  const labels = $("evaluate-labels").value.split(",").map((label) => label.trim()).filter(Boolean);
  return run(() => post("/api/evaluate", { model: $("evaluate-model").value, tag: $("evaluate-tag").value, labels: labels.length ? labels : null }));
}

async function run(begin) {
  showProblem($("evaluate-problem"), null);
  for (const name of ["matrix", "matrix-clips"]) $(name).replaceChildren();
  try {
    const job = await begin();
    address.write("evaluate", { job: job.id }, { replace: true });
    const last = await follow(job, $("evaluate-job"));
    if (last.state === "done" && last.kind === "evaluate") matrix(last.report);
  } catch (problem) {
    showProblem($("evaluate-problem"), problem);
  }
}

const answerOf = (clip) => (clip.unknown ? UNKNOWN : clip.answer);

function matrix(report) {
  const truths = [...new Set(report.clips.map((clip) => clip.label))].sort();
  const answers = [...new Set([...truths, ...report.clips.map((clip) => clip.answer)])].sort();
  if (report.clips.some((clip) => clip.unknown)) answers.push(UNKNOWN);
  const cell = (truth, answer) => {
    const clips = report.clips.filter((clip) => clip.label === truth && answerOf(clip) === answer);
    if (!clips.length) return el("td", {}, "·");
    const share = clips.length / report.clips.filter((clip) => clip.label === truth).length;
    const made = el("button", { type: "button", class: truth === answer ? "right" : "wrong", "aria-label": `${clips.length} of ${truth} answered ${answer}`, onclick: () => show(clips, made) }, clips.length);
    made.style.setProperty("--share", share.toFixed(2));
    return el("td", {}, made);
  };
  const head = el("tr", {}, el("td", {}, ""), ...answers.map((answer) => el("th", { scope: "col" }, el("span", {}, answer))), el("th", { scope: "col" }, el("span", {}, "right")));
  const rows = truths.map((truth) => {
    const own = report.clips.filter((clip) => clip.label === truth);
    const right = own.filter((clip) => answerOf(clip) === truth).length;
    return el("tr", {}, el("th", { scope: "row" }, truth), ...answers.map((answer) => cell(truth, answer)), el("td", {}, `${right} of ${own.length}`));
  });
  $("matrix").replaceChildren(
    el("pre", { class: "summary" }, report.sentence),
    el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Confusion matrix" },
      el("table", { class: "matrix" }, el("caption", {}, "Rows: what the tag says. Columns: what the model answers. A cell shows its recordings."), el("thead", {}, head), el("tbody", {}, ...rows))));
}

function show(clips, from) {
  for (const each of document.querySelectorAll(".matrix [aria-pressed]")) each.removeAttribute("aria-pressed");
  from.setAttribute("aria-pressed", "true");
  const hits = clips.map((clip) => ({
    ...clip, name: clip.path.split("/").pop(), probability: null, tags: {},
    note: `shows ${clip.label}, answered ${clip.unknown ? "unknown" : `${clip.answer}, ${percent(clip.probability)}`}`,
  }));
  const rows = hits.map((hit, at) => tile(hit, at, { play: (each, row) => open(rows, each, row), text: hit.label }));
  $("matrix-clips").replaceChildren(...rows);
  rows[0].scrollIntoView({ block: "nearest" });
}

function open(rows, hit, row) {
  const at = rows.indexOf(row);
  play(hit, { text: "", from: row, step: (by) => { if (rows[at + by]) open(rows, rows[at + by].moment, rows[at + by]); } });
}
