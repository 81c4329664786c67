// Examples that were collected for a model, kept in this browser.

import { $, el, isolated, plural } from "./api.js";

const KEPT = "vlar-examples:";
let key = null; // where the examples of this library outlast the tab
let changed = () => {};
export const examples = []; // { video | upload, name, start_s, end_s, label }

export function onChange(work) { changed = work; }

// Examples of an earlier visit; uploads do not last.
export function recall(library) {
  if (key) return;
  key = KEPT + library;
  try {
    const before = JSON.parse(localStorage.getItem(key) ?? "[]");
    if (Array.isArray(before) && before.length) {
      examples.unshift(...before.filter((each) => each?.video && typeof each.label === "string"));
      update();
    }
  } catch { /* private windows may keep nothing */ }
}

export function keep() {
  try {
    if (key) localStorage.setItem(key, JSON.stringify(examples.filter((each) => each.video)));
  } catch { /* as above */ }
}

export function update() {
  $("example-count").textContent = examples.length;
  $("example-count").hidden = !examples.length;
  keep();
  changed();
}

// Moments become examples of a label. One that is an example of another label already asks which holds.
export async function collect(moments, label, done = () => {}) {
  const text = plain(label), all = moments.map((each) => [each, each.label === undefined ? text : plain(each.label)]);
  const others = examples.filter((each) => each.label.trim() && all.some(([moment, name]) => name && name !== each.label.trim() && overlap(moment, each)));
  const add = () => {
    for (const [{ video, upload, name, start_s, end_s }, label] of all) {
      const made = { video, upload, name, start_s, end_s, label };
      if (!examples.some((each) => each.label.trim() === label && keyOf(each) === keyOf(made))) examples.push(made); // twice teaches nothing
    }
    update();
    $("said").textContent = plural(examples.length, "example");
    done(examples.length);
  };
  if (!others.length) return add();
  const { dialog } = await import("./dialog.js");
  const names = [...new Set(others.map((each) => `“${each.label.trim()}”`))].join(", ");
  dialog(`${plural(others.length, "moment")} with two labels`, [el("p", {}, `${others.slice(0, 3).map((each) => isolated(each.name)).join(", ")}: already an example of ${names}. A model learns one label of a moment best.`)],
    [[`Keep only the new label`, () => {
      for (const each of others) examples.splice(examples.indexOf(each), 1);
      add();
    }], ["Keep both", add]]);
}

const keyOf = (each) => `${each.video ?? each.upload} ${each.start_s} ${each.end_s}`;

// Whether two spans share at least half of the longer one.
function overlap(a, b) {
  if ((a.video ?? a.upload) !== (b.video ?? b.upload)) return false;
  if (a.start_s == null || b.start_s == null) return keyOf(a) === keyOf(b);
  return Math.min(a.end_s, b.end_s) - Math.max(a.start_s, b.start_s) >= 0.5 * Math.max(a.end_s - a.start_s, b.end_s - b.start_s);
}

export const labelsInUse = () => [...new Set(examples.map((each) => each.label.trim()).filter(Boolean))];

// A query in quotes is no good name for a label.
const plain = (text) => (/^[^"()[\]^]+$/.test(text ?? "") && !text.startsWith("LIKE") ? text.trim() : "");
