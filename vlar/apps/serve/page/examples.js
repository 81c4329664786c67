// Examples that a model learns from, and the job that adapts it.

import { $, busy, clock, el, post, showProblem, thumbnail } from "./api.js";
import { follow } from "./jobs.js";

let examples = []; // { video | upload, name, start_s, end_s, label }
let adapted = () => {};

export function setUp(onAdapted) {
  adapted = onAdapted;
  $("adapt-form").addEventListener("submit", (event) => {
    event.preventDefault();
    busy($("adapt-form").querySelector("button.main"), adapt);
  });
  $("clear-examples").addEventListener("click", () => {
    examples = [];
    show();
  });
}

export function addExample(moment, label) {
  const { video, upload, name, start_s, end_s } = moment;
  examples.push({ video, upload, name, start_s, end_s, label: plain(label) });
  show();
  $("example-said").textContent = `${examples.length} examples`;
}

// A query in quotes is no good name for a label.
const plain = (text) => (/^[^"()[\]^]+$/.test(text ?? "") && !text.startsWith("LIKE") ? text.trim() : "");

function show() {
  $("example-count").textContent = examples.length;
  $("no-examples").hidden = examples.length > 0;
  $("adapt-form").hidden = examples.length === 0;
  $("example-list").replaceChildren(...examples.map((each, at) => row(each, at)));
}

function row(each, at) {
  const id = `example-${at}`;
  const times = each.start_s == null ? "whole video" : `${clock(each.start_s)} to ${clock(each.end_s)}`;
  const picture = each.video
    ? el("img", { class: "picture", src: thumbnail(each.video, ((each.start_s ?? 0) + (each.end_s ?? 0)) / 2, 160), alt: "" })
    : el("span", { class: "picture" });
  const input = el("input", { type: "text", id, maxlength: 200, value: each.label, required: true, form: "adapt-form" });
  input.addEventListener("input", () => { each.label = input.value; });
  return el("li", { class: "example" }, picture,
    el("div", {}, el("p", { class: "hit-line" }, `${each.name}, ${times}`),
      el("div", { class: "label-field" }, el("label", { for: id }, "Shows"), input)),
    el("button", { type: "button", class: "small", "aria-label": `Remove the example ${at + 1}`, onclick: () => {
      examples.splice(at, 1);
      show();
    } }, "Remove"));
}

async function adapt() {
  showProblem($("adapt-problem"), null);
  const name = $("model-name").value.trim();
  const sent = examples.map(({ video, upload, start_s, end_s, label }) => ({ video, upload, start_s, end_s, label: label.trim() }));
  try {
    const job = await post("/api/adapt", { name, examples: sent });
    const last = await follow(job, $("adapt-job"));
    if (last.state === "done") adapted(name, last);
  } catch (problem) {
    showProblem($("adapt-problem"), problem);
  }
}
