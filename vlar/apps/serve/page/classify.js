// Classifying a video that is dropped on the page.

import { $, busy, clock, el, percent, post, showProblem, upload } from "./api.js";
import { addExample } from "./examples.js";

let current = null; // { file, id }

export function setUp() {
  const drop = $("drop");
  for (const name of ["dragenter", "dragover"]) drop.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
  for (const name of ["dragleave", "drop"]) drop.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.remove("over");
  });
  drop.addEventListener("drop", (event) => take(event.dataTransfer.files[0]));
  $("file").addEventListener("change", () => take($("file").files[0]));
  $("classify-form").addEventListener("submit", (event) => {
    event.preventDefault();
    busy($("classify-form").querySelector("button.main"), classify);
  });
  $("model").addEventListener("change", showLabelsNeeded);
}

export function showModels(models, chosen) {
  const kept = chosen ?? $("model").value;
  $("model").replaceChildren(...models.map((each) => el("option", { value: each.name }, each.adapted ? `${each.name} (adapted)` : `${each.model} (the library's)`)));
  if (models.some((each) => each.name === kept)) $("model").value = kept;
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
  $("file-line").textContent = `${file.name}, ${(file.size / 1e6).toFixed(1)} MB`;
  $("classify-answers").replaceChildren();
  $("classify-status").textContent = "";
}
$("preview").addEventListener("error", () => { $("preview").hidden = true; });

const split = (text) => text.split(/[,\n]/).map((label) => label.trim()).filter(Boolean);

async function classify() {
  showProblem($("classify-problem"), null);
  $("classify-answers").replaceChildren();
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
    const body = { source: { upload: current.id }, model, top: 10, every_s: every ? Number(every) : null };
    show(await post("/api/classify", labels.length ? { ...body, labels } : body));
  } catch (problem) {
    if (problem.status === 404) current.id = null; // uploads do not last
    $("classify-status").textContent = "";
    showProblem($("classify-problem"), problem);
  } finally {
    $("file-progress").hidden = true;
  }
}

function show({ answers }) {
  const good = answers.filter((answer) => !answer.error);
  const failed = answers.filter((answer) => answer.error);
  if (failed.length) showProblem($("classify-problem"), { message: failed[0].error.message });
  if (!good.length) {
    $("classify-status").textContent = "";
    return;
  }
  $("classify-status").textContent = good.length === 1 ? verdict(good[0]) : `${good.length} answers over time`;
  $("classify-answers").replaceChildren(...(good.length === 1 ? [whole(good[0])] : good.map(part)));
}

function verdict(answer) {
  const best = answer.predictions[0];
  if (answer.verdict) {
    const word = { yes: "Yes", no: "No", unsure: "Unsure" }[answer.verdict];
    return `${word}: ${best.label}, ${percent(best.probability)}`;
  }
  if (answer.unknown) return `Unknown: nothing in the list fits (best: ${best.label}, ${percent(best.probability)}).`;
  const said = `${best.label}, ${percent(best.probability)}`;
  return answer.unknown_probability > best.probability ? `Unsure: ${said}; unknown, ${percent(answer.unknown_probability)}` : said;
}

function bars(answer) {
  const rows = [...answer.predictions.map((each) => [each.label, each.probability]), ["(unknown)", answer.unknown_probability]];
  return el("div", { class: "answers" }, ...rows.map(([label, value]) =>
    el("div", { class: "answer-row" }, el("span", {}, label), el("meter", { min: 0, max: 1, value, "aria-label": label }), el("b", {}, percent(value)))));
}

function whole(answer) {
  return el("div", {}, bars(answer), el("p", { class: "actions" }, example(answer)));
}

function part(answer) {
  const jump = el("button", { type: "button", class: "small", onclick: () => {
    $("preview").currentTime = answer.start_s;
    $("preview").play().catch(() => {});
  } }, `${clock(answer.start_s)} to ${clock(answer.end_s)}`);
  return el("details", {}, el("summary", {}, `${clock(answer.start_s)} to ${clock(answer.end_s)}: ${verdict(answer)}`), el("p", { class: "actions" }, jump, example(answer)), bars(answer));
}

function example(answer) {
  const moment = { upload: current.id, name: current.file.name, start_s: answer.start_s, end_s: answer.end_s };
  return el("button", { type: "button", class: "small", onclick: () => addExample(moment, answer.label ?? "") }, "Use as example");
}
