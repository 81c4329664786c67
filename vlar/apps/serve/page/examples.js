// Examples that a model learns from, and the job that adapts it.

import { $, busy, el, get, isolated, post, showProblem, thumbnail } from "./api.js";
import { examples, keep, labelsInUse, onChange, update } from "./collected.js";
import { follow } from "./jobs.js";

const ENOUGH = 3; // examples of a label, with which few-shot heads begin to be reliable
const MOST = 500;
let hooks = {};

// given: { refresh(name), play(moment, { from }) }
export function setUp(given) {
  hooks = given;
  $("adapt-form").addEventListener("submit", (event) => {
    event.preventDefault();
    busy($("adapt-form").querySelector("button.main"), adapt).then(counts);
  });
  $("labelled-examples").addEventListener("click", () => busy($("labelled-examples"), labelled));
  $("clear-examples").addEventListener("click", () => {
    examples.length = 0;
    update();
  });
  onChange(show);
  show();
}

// Every span that people labelled in the player, at most as many as a model learns from here.
async function labelled() {
  showProblem($("adapt-problem"), null);
  try {
    const { spans } = await get("api/labels");
    if (!spans.length) throw new Error("No span is labelled yet: open a recording and draw on its track.");
    const same = (a, b) => a.video === b.video && a.start_s === b.start_s && a.end_s === b.end_s && a.label === b.label;
    const more = spans.filter((span) => !examples.some((each) => same(each, span)));
    examples.push(...more.slice(0, Math.max(0, MOST - examples.length)));
    update();
    $("said").textContent = `${examples.length} examples`;
  } catch (problem) {
    showProblem($("adapt-problem"), problem);
  }
}

function show() {
  $("no-examples").hidden = examples.length > 0;
  $("adapt-form").hidden = examples.length === 0;
  $("example-list").replaceChildren(...examples.map((each, at) => row(each, at)));
  counts();
}

function counts() {
  const chips = labelsInUse().map((label) => {
    const n = examples.filter((each) => each.label.trim() === label).length;
    return el("li", { class: `chip-fact${n < ENOUGH ? " few" : ""}` }, `${label} · ${n}`);
  });
  const left = examples.filter((each) => !each.label.trim()).length;
  if (left) chips.push(el("li", { class: "chip-fact few" }, `without a label · ${left}`));
  keep();
  const names = labelsInUse();
  const reason = left ? `${left} of the examples ${left === 1 ? "has" : "have"} no label yet.`
    : names.length < 2 ? `A model learns from at least two labels; ${names.length ? `all examples show “${names[0]}”` : "there is none"}.` : "";
  $("adapt-reason").textContent = reason;
  $("adapt-form").querySelector("button.main").disabled = Boolean(reason);
  $("example-labels").replaceChildren(...chips);
  $("labels-in-use").replaceChildren(...labelsInUse().map((value) => el("option", { value })));
}

function row(each, at) {
  const open = () => hooks.play({ ...each, start_s: each.start_s ?? 0, end_s: each.end_s ?? 10 }, { from: made });
  const image = each.video ? el("img", { src: thumbnail(each.video, ((each.start_s ?? 0) + (each.end_s ?? 0)) / 2, 160), alt: "" }) : null;
  const picture = each.video
    ? el("button", { type: "button", class: "picture", "aria-label": `Play the example ${at + 1}`, onclick: open }, image)
    : el("span", { class: "picture none" });
  const input = el("input", { type: "text", id: `example-${at}`, maxlength: 200, value: each.label, required: true, form: "adapt-form", list: "labels-in-use" });
  input.addEventListener("input", () => {
    each.label = input.value;
    counts();
  });
  const made = el("li", { class: "example" }, picture,
    el("div", { class: "example-body" }, el("p", { class: "hit-line" }, `${isolated(each.name)}${each.start_s == null ? ", whole video" : ""}`),
      el("div", { class: "example-fields" },
        el("div", { class: "field label-field" }, el("label", { for: `example-${at}` }, "Shows"), input),
        ...(each.start_s == null ? [] : [trim(each, at, "start_s", "From, s", image), trim(each, at, "end_s", "To, s", image)]))),
    el("button", { type: "button", class: "small", "aria-label": `Remove the example ${at + 1}`, onclick: () => {
      examples.splice(at, 1);
      update();
    } }, "Remove"));
  return made;
}

// One end of the span; a span that is none is marked and not sent.
function trim(each, at, name, text, image) {
  const id = `example-${at}-${name}`;
  const input = el("input", { type: "number", id, min: 0, step: 0.1, value: each[name].toFixed(1), required: true, form: "adapt-form" });
  input.addEventListener("input", () => {
    each[name] = Number(input.value);
    keep();
    input.setCustomValidity(each.end_s > each.start_s ? "" : "It ends before it starts.");
  });
  input.addEventListener("change", () => {
    if (image && each.end_s > each.start_s) image.src = thumbnail(each.video, (each.start_s + each.end_s) / 2, 160);
  });
  return el("div", { class: "field" }, el("label", { for: id }, text), input);
}

async function adapt() {
  showProblem($("adapt-problem"), null);
  const name = $("model-name").value.trim();
  const sent = examples.map(({ video, upload, start_s, end_s, label }) => ({ video, upload, start_s, end_s, label: label.trim() }));
  try {
    const last = await follow(await post("api/adapt", { name, examples: sent }), $("adapt-job"));
    if (last.state !== "done") return;
    await hooks.refresh(name);
    $("adapt-job").append(el("p", { class: "actions" },
      el("a", { class: "button main", href: `#classify?model=${encodeURIComponent(name)}` }, `Try ${name} on a video`),
      el("a", { class: "button", href: `#evaluate?model=${encodeURIComponent(name)}` }, `Evaluate ${name}`)));
  } catch (problem) {
    showProblem($("adapt-problem"), problem);
  }
}
