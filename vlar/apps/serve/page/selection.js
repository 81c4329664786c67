// The selection: moments that were chosen, and what is done with all of them.

import { $, plural } from "./api.js";

export const picked = new Map(); // key of a moment -> the moment
export const keyOf = (hit) => `${hit.video} ${hit.start_s} ${hit.end_s}`;
export const abilities = { changed: () => {}, exports: [], writable: true };
let last = null;

export const isPicked = (hit) => picked.has(keyOf(hit));

export function setUp(onChanged) {
  abilities.changed = onChanged;
  $("select-clear").addEventListener("click", clear);
  for (const name of ["show", "tag", "example", "export", "remove"]) {
    $(`select-${name}`).addEventListener("click", async () => (await import("./selected.js"))[name]());
  }
  $("pick-all").addEventListener("click", () => pickMany(tilesShown().map((row) => row.moment)));
}

export function showAbilities(found) {
  Object.assign(abilities, { exports: found.exports, writable: found.writable });
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

export function clear() {
  picked.clear();
  show();
}

export const recordings = () => [...new Map([...picked.values()].map((hit) => [hit.video, hit])).values()];

export function show() {
  const n = picked.size, of = recordings().length;
  const isHere = n > 0 && !($("view-search").hidden && $("view-evaluate").hidden);
  $("selection").hidden = !isHere;
  document.body.classList.toggle("selecting", isHere);
  const here = new Set(tilesShown().map((row) => keyOf(row.moment)));
  const away = [...picked.keys()].filter((key) => !here.has(key)).length; // of an earlier search
  $("selection-line").textContent = n ? `${n} selected, of ${plural(of, "recording")}${away ? `; ${away} not among these` : ""}` : "";
  for (const name of ["select-tag", "select-remove"]) {
    $(name).disabled = !abilities.writable;
    $(name).title = abilities.writable ? "" : "The library is read-only";
  }
  for (const row of tilesShown()) {
    const box = row.querySelector(".pick input");
    box.checked = isPicked(row.moment);
    row.classList.toggle("picked", box.checked);
  }
}
