// The selection: moments that were chosen, and what is done with all of them.

import { $, busy, clock, download, el, get, post, showProblem, thumbnail } from "./api.js";
import { addExample, labelsInUse } from "./collected.js";
import { dialog, field } from "./dialog.js";

const picked = new Map(); // key of a moment -> the moment
const keyOf = (hit) => `${hit.video} ${hit.start_s} ${hit.end_s}`;
const MOST_SHOWN = 60;
let last = null, changed = () => {}, exports = [], writable = true;

export const isPicked = (hit) => picked.has(keyOf(hit));

export function setUp(onChanged) {
  changed = onChanged;
  $("select-clear").addEventListener("click", clear);
  $("select-show").addEventListener("click", () => ask(() => `${picked.size} selected`, [], []));
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
  const here = new Set(tilesShown().map((row) => keyOf(row.moment)));
  const away = [...picked.keys()].filter((key) => !here.has(key)).length; // of an earlier search
  $("selection-line").textContent = n ? `${n} selected, of ${plural(of, "recording")}${away ? `; ${away} not among these` : ""}` : "";
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

const plural = (n, word) => `${n} ${n === 1 ? word : `${word}s`}`;

// Every chosen moment with its picture, and a way to drop it before anything is done with it.
function list(refresh) {
  const rows = [...picked.values()].slice(0, MOST_SHOWN).map((hit) => {
    const span = hit.whole ? "" : `${clock(hit.start_s)} to ${clock(hit.end_s)}`;
    const row = el("li", {}, el("img", { src: thumbnail(hit.video, hit.picture_s ?? (hit.start_s + hit.end_s) / 2, 160), alt: "", loading: "lazy" }),
      el("bdi", {}, hit.name), el("span", { class: "quiet" }, span),
      el("button", { type: "button", class: "small", "aria-label": `Drop ${hit.name} ${span}`, onclick: () => {
        picked.delete(keyOf(hit));
        row.remove();
        show();
        refresh();
      } }, "Drop"));
    return row;
  });
  const more = picked.size - rows.length;
  return el("ul", { class: "picked-list", tabindex: 0, "aria-label": "What is selected" }, ...rows, more > 0 ? el("li", { class: "quiet" }, `and ${more} more`) : null);
}

// A dialog about what is selected.
function ask(title, body, buttons) {
  const refresh = dialog(title(), [...body, list(() => refresh(title(), picked.size === 0))], buttons);
}

async function tag() {
  const keys = recordings().flatMap((hit) => Object.keys(hit.tags ?? {}));
  const known = await get("/api/facets").catch(() => ({ facets: [] }));
  const facets = known.facets.filter((each) => each.values[0]?.where.length === 1);
  const key = field("tag-key", "Tag", { required: true, maxlength: 100, placeholder: "such as place" }, [...new Set([...keys, ...facets.map((each) => each.name)])]);
  const value = field("tag-value", "Value", { maxlength: 1000 });
  key.input.addEventListener("input", () => {
    const values = facets.find((each) => each.name === key.input.value.trim())?.values ?? [];
    value.list.replaceChildren(...values.map(({ text }) => el("option", { value: text })));
  });
  const send = async (text) => {
    const name = key.input.value.trim(), all = recordings();
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
  ask(() => `Tag ${plural(recordings().length, "recording")}`, [key.row, value.row],
    [["Set", () => send(value.input.value.trim())], ["Remove this tag", () => send(null)]]);
}

function remove() {
  ask(() => `Remove ${plural(recordings().length, "recording")} from the library?`, [el("p", {}, "The files stay where they are. For 30 days the bin, under Library, has the recordings with their tags and labels.")],
    [["Remove", async () => {
      let done;
      try {
        done = await post("/api/remove", { videos: recordings().map((hit) => hit.video) });
      } catch (problem) {
        if (problem.status === 404) changed("removed"); // one is gone already: show what is there
        throw problem;
      }
      clear();
      offerUndo(done);
      changed("removed");
    }]]);
}

function offerUndo({ removed, bin }) {
  const line = $("undo-line"), undo = el("button", { type: "button", class: "small", onclick: () => busy(undo, async () => {
    try {
      const { restored } = await post("/api/restore", { bin });
      line.textContent = `${plural(restored, "recording")} came back.`;
    } catch (problem) {
      showProblem(line, problem);
    }
    changed("restored");
  }) }, "Undo");
  line.replaceChildren(`${plural(removed, "recording")} removed. `, undo);
  line.hidden = false;
}

function useAsExamples() {
  const label = field("many-label", "What they show", { required: true, maxlength: 200 }, labelsInUse());
  ask(() => `${plural(picked.size, "example")} of one label`, [label.row], [["Use as examples", () => {
    if (!label.input.value.trim()) throw new Error("Write what they show.");
    let count = 0;
    for (const hit of picked.values()) count = addExample(hit, label.input.value);
    $("selection-line").textContent = `${picked.size} added ✓, ${count} examples in all`;
  }]]);
}

const WORDS = { csv: "Table (CSV)", otio: "Timeline (OTIO)", clips: "Cut clips (ZIP)" };

function exportAs() {
  const spans = () => [...picked.values()].map(({ video, start_s, end_s }) => ({ video, start_s, end_s }));
  ask(() => `Export ${plural(picked.size, "moment")}`, [], exports.map(({ name, ending }) =>
    [WORDS[name] ?? name, () => download(`/api/export/${name}`, { spans: spans(), title: document.title }, `vlar.${ending}`)]));
}
