// The selection: moments that were chosen, and what is done with all of them.

import { $, busy, download, el, get, post, showProblem } from "./api.js";
import { addExample, labelsInUse } from "./examples.js";

const picked = new Map(); // key of a moment -> the moment
const keyOf = (hit) => `${hit.video} ${hit.start_s} ${hit.end_s}`;
let last = null, changed = () => {}, exports = [], writable = true;

export const isPicked = (hit) => picked.has(keyOf(hit));

export function setUp(onChanged) {
  changed = onChanged;
  $("select-clear").addEventListener("click", clear);
  $("select-tag").addEventListener("click", tag);
  $("select-example").addEventListener("click", useAsExamples);
  $("select-export").addEventListener("click", exportAs);
  $("select-remove").addEventListener("click", remove);
  $("pick-all").addEventListener("click", () => pickMany(tilesShown().map((row) => row.moment)));
}

export function showAbilities(found) {
  exports = found.exports;
  writable = found.writable;
  show();
}

// With shift, all tiles from the last one to this one.
export function pick(hit, on, range = false) {
  const all = tilesShown().map((row) => row.moment);
  const [from, to] = [all.indexOf(last), all.indexOf(hit)].sort((a, b) => a - b);
  for (const each of range && from >= 0 ? all.slice(from, to + 1) : [hit]) {
    if (on) picked.set(keyOf(each), each);
    else picked.delete(keyOf(each));
  }
  last = hit;
  show();
}

export function pickMany(hits) {
  for (const hit of hits) picked.set(keyOf(hit), hit);
  show();
}

const tilesShown = () => [...document.querySelectorAll(".views > section:not([hidden]) .hit")].filter((row) => row.moment);

function clear() {
  picked.clear();
  show();
}

const recordings = () => [...new Map([...picked.values()].map((hit) => [hit.video, hit])).values()];

export function show() {
  const n = picked.size, of = recordings().length;
  const isHere = n > 0 && !($("view-search").hidden && $("view-evaluate").hidden);
  $("selection").hidden = !isHere;
  document.body.classList.toggle("selecting", isHere);
  $("selection-line").textContent = n ? `${n} selected, of ${of} ${of === 1 ? "recording" : "recordings"}` : "";
  for (const name of ["select-tag", "select-remove"]) {
    $(name).disabled = !writable;
    $(name).title = writable ? "" : "The library is read-only";
  }
  for (const row of tilesShown()) {
    const box = row.querySelector(".pick input");
    box.checked = isPicked(row.moment);
    row.classList.toggle("picked", box.checked);
  }
}

// A dialog: what it asks for, and its buttons [text, work]; work ends it unless it fails.
function ask(title, body, buttons) {
  $("dialog-title").textContent = title;
  $("dialog-body").replaceChildren(...body);
  showProblem($("dialog-problem"), null);
  const made = buttons.map(([text, work], at) => {
    const button = el("button", { type: at ? "button" : "submit", class: at ? "" : "main" }, text);
    button.run = () => busy(button, async () => {
      try {
        await work();
        $("dialog").close();
        if (document.activeElement === document.body) $("main").focus({ preventScroll: true });
      } catch (problem) {
        showProblem($("dialog-problem"), problem);
      }
    });
    if (at) button.addEventListener("click", button.run);
    return button;
  });
  $("dialog-actions").replaceChildren(...made, el("button", { type: "button", class: "plain", onclick: () => $("dialog").close() }, "Cancel"));
  $("dialog-form").onsubmit = (event) => {
    event.preventDefault();
    made[0].run();
  };
  $("dialog").showModal();
}

function field(id, label, attributes = {}, options = []) {
  const input = el("input", { id, type: "text", list: `${id}-list`, autocomplete: "off", spellcheck: "false", ...attributes });
  const list = el("datalist", { id: `${id}-list` }, ...options.map((value) => el("option", { value })));
  return { input, row: el("div", { class: "field" }, el("label", { for: id }, label), input, list) };
}

async function tag() {
  const all = recordings();
  const keys = [...new Set(all.flatMap((hit) => Object.keys(hit.tags ?? {})))];
  const known = await get("/api/facets").catch(() => ({ facets: [] }));
  const named = known.facets.filter((each) => each.values[0]?.where.length === 1).map((each) => each.name);
  const key = field("tag-key", "Tag", { required: true, maxlength: 100, value: keys[0] ?? named[0] ?? "" }, [...new Set([...keys, ...named])]);
  const value = field("tag-value", "Value", { maxlength: 1000 });
  const send = async (text) => {
    const name = key.input.value.trim();
    if (!name || text === "") throw new Error("Write a tag and its value.");
    const changes = all.map((hit) => ({ video: hit.video, tags: { [name]: text }, before: hit.tags ? { [name]: hit.tags[name] ?? null } : {} }));
    try {
      await post("/api/tags", { changes });
    } catch (problem) {
      if (problem.status === 409) changed("tags"); // somebody else changed it: show what it is now
      throw problem;
    }
    for (const hit of picked.values()) {
      hit.tags = { ...hit.tags, [name]: text };
      if (text === null) delete hit.tags[name];
    }
    $("said").textContent = `${all.length} tagged`;
    changed("tags");
  };
  ask(`Tag ${all.length} ${all.length === 1 ? "recording" : "recordings"}`, [key.row, value.row],
    [["Set", () => send(value.input.value.trim())], ["Remove this tag", () => send(null)]]);
}

function remove() {
  const all = recordings();
  const names = el("ul", { class: "names" }, ...all.slice(0, 8).map((hit) => el("li", {}, hit.name)), all.length > 8 ? el("li", {}, `and ${all.length - 8} more`) : null);
  ask(`Remove ${all.length} ${all.length === 1 ? "recording" : "recordings"} from the library?`, [el("p", {}, "The files stay where they are. Tags are lost."), names],
    [["Remove", async () => {
      try {
        await post("/api/remove", { videos: all.map((hit) => hit.video) });
      } catch (problem) {
        if (problem.status === 404) changed("removed"); // one is gone already: show what is there
        throw problem;
      }
      clear();
      changed("removed");
    }]]);
}

function useAsExamples() {
  const label = field("many-label", "What they show", { required: true, maxlength: 200 }, labelsInUse());
  ask(`${picked.size} examples`, [label.row], [["Use as examples", () => {
    let count = 0;
    for (const hit of picked.values()) count = addExample(hit, label.input.value);
    $("selection-line").textContent = `${picked.size} added ✓, ${count} examples in all`;
  }]]);
}

const WORDS = { csv: "Table (CSV)", edl: "Edit list (EDL)", otio: "Timeline (OTIO)", sheet: "Sheet of pictures (PNG)", clips: "Cut clips (ZIP)" };

function exportAs() {
  const spans = [...picked.values()].map(({ video, start_s, end_s }) => ({ video, start_s, end_s }));
  ask(`Export ${spans.length} ${spans.length === 1 ? "moment" : "moments"}`, [], exports.map(({ name, ending }) =>
    [WORDS[name] ?? name, () => download(`/api/export/${name}`, { spans, title: document.title }, `vlar.${ending}`)]));
}
