// Evaluating a model: a confusion matrix whose cells open their recordings.

import { $, busy, el, get, percent, post, showProblem } from "./api.js";
import * as address from "./address.js";
import { showModels } from "./classify.js";
import { follow } from "./jobs.js";
import { play } from "./sections.js";
import { tile } from "./tiles.js";

const UNKNOWN = "(unknown)";

export function setUp() {
  $("evaluate-form").addEventListener("submit", (event) => {
    event.preventDefault();
    busy($("evaluate-form").querySelector("button.main"), evaluate);
  });
  $("review").addEventListener("click", () => busy($("review"), review));
}

export function showLibrary({ models, library: { tag_keys: keys } }, chosen) {
  showModels($("evaluate-model"), models, chosen);
  const other = $("evaluate-other").value;
  $("evaluate-other").replaceChildren(el("option", { value: "" }, "no other model"), ...models.map((each) => el("option", { value: each.name }, each.name)));
  $("evaluate-other").value = models.some((each) => each.name === other) ? other : "";
  const kept = $("evaluate-tag").value;
  $("evaluate-tag").replaceChildren(el("option", { value: "" }, "the labelled spans"), ...keys.map((key) => el("option", { value: key }, `the tag ${key}`)));
  if (keys.includes(kept)) $("evaluate-tag").value = kept;
}

export async function open(values) {
  if (values.get("model")) $("evaluate-model").value = values.get("model");
  const job = values.get("job");
  if (job && /^[0-9a-f]{16}$/.test(job)) await run(() => get(`api/jobs/${job}`));
}

function asked() {
  const labels = $("evaluate-labels").value.split(",").map((label) => label.trim()).filter(Boolean);
  return { model: $("evaluate-model").value, labels: labels.length ? labels : null };
}

const evaluate = () => run(() => post("api/evaluate", { ...asked(), other: $("evaluate-other").value || null, tag: $("evaluate-tag").value || null }));
const review = () => run(() => post("api/review", asked()));

async function run(begin) {
  showProblem($("evaluate-problem"), null);
  for (const name of ["matrix", "comparison", "matrix-clips"]) $(name).replaceChildren();
  try {
    const job = await begin();
    address.write("evaluate", { job: job.id }, { replace: true });
    const last = await follow(job, $("evaluate-job"));
    if (last.state !== "done") return;
    if (last.kind === "review") return doubts(last.report);
    matrix(last.report);
    if (last.report.comparison) compared(last.report.comparison);
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
      el("table", { class: "matrix" }, el("caption", {}, "Rows: what is true. Columns: what the model answers. A cell shows its recordings."), el("thead", {}, head), el("tbody", {}, ...rows))));
}

const said = (clip) => (clip.unknown ? "unknown" : `${clip.answer}, ${percent(clip.probability)}`);

// Two models: a table with intervals, labels that changed, and what each change shows.
function compared(report) {
  const [a, b] = report.models;
  const value = ({ value: share, interval }) => `${percent(share)}${interval ? ` (${percent(interval[0])} to ${percent(interval[1])})` : ""}`;
  const line = (name, ...cells) => el("tr", {}, el("th", { scope: "row" }, name), ...cells.map((cell) => el("td", {}, cell)));
  const table = (caption, heads, rows) => el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption },
    el("table", { class: "compared" }, el("caption", {}, caption), el("thead", {}, el("tr", {}, el("td", {}), ...heads.map((text) => el("th", { scope: "col" }, text)))), el("tbody", {}, ...rows)));
  const { difference: found } = report.difference ?? {};
  const points = (share) => `${share > 0 ? "+" : ""}${(100 * share).toFixed(1)}`;
  const figures = Object.entries(report.figures).map(([name, both]) => line({ top1: "right", macro: "right, mean over labels" }[name], ...both.map(value)));
  if (found) figures.push(line("difference, in points", "", `${points(found.value)} (${points(found.low)} to ${points(found.high)})`));
  const labels = report.labels.map((each) => line(each.label, each.n, ...each.right, each.entered));
  const some = (text, rows, note) => button(`${rows.length} ${text}`, rows, note);
  const button = (text, rows, note) => {
    const made = el("button", { type: "button", class: "small", disabled: !rows.length, onclick: () => show(rows, made, note) }, text);
    return made;
  };
  $("comparison").replaceChildren(el("h2", {}, `${a} and ${b}`),
    table("Share of right answers, with 95 % intervals", [a, b], figures),
    table("Labels, those that changed most first", ["examples", `right, ${a}`, `right, ${b}`, "new among the first hits"], labels),
    el("p", { class: "actions" },
      some("answers changed", report.changed, (clip) => `shows ${clip.label}; ${a}: ${said(clip)}; ${b}: ${said(clip.second)}`),
      some("hits moved", report.moved, (hit) => `“${hit.label}”, ${hit.shows ? "which it shows" : "which it does not show"}: place ${hit.ranks[0]}, then ${hit.ranks[1]}`)));
}

function doubts(report) {
  const labelled = report.labelled ? `; ${report.labelled} are labelled` : "";
  const line = report.items.length ? "The most doubtful first, each unlike the others; open one and label it." : "Nothing is left to label.";
  $("matrix").replaceChildren(el("p", { class: "quiet" }, `${report.items.length} of ${report.windows} windows${labelled}. ${line}`));
  show(report.items, null, (each) => each.guesses.map(({ label, probability }) => `${label} ${percent(probability)}`).join(", or "));
}

function show(clips, from, note = (clip) => `shows ${clip.label}, answered ${said(clip)}`) {
  for (const each of document.querySelectorAll("#view-evaluate [aria-pressed]")) each.removeAttribute("aria-pressed");
  from?.setAttribute("aria-pressed", "true");
  const hits = clips.map((clip) => ({
    ...clip, name: clip.path.split("/").pop(), probability: null, tags: {}, note: note(clip), guess: clip.guesses?.[0].label,
  }));
  const rows = hits.map((hit, at) => tile(hit, at, { play: (each, row) => openAmong(rows, each, row), text: hit.label }));
  $("matrix-clips").replaceChildren(...rows);
  rows[0]?.scrollIntoView({ block: "nearest" });
}

function openAmong(rows, hit, row) {
  const at = rows.indexOf(row);
  play(hit, { text: "", from: row, step: (by) => { if (rows[at + by]) openAmong(rows, rows[at + by].moment, rows[at + by]); } });
}
