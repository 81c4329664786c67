// Examples that were collected for a model, kept in this browser.

import { $ } from "./api.js";

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

export function addExample(moment, label) {
  const { video, upload, name, start_s, end_s } = moment;
  examples.push({ video, upload, name, start_s, end_s, label: plain(label) });
  update();
  $("said").textContent = `${examples.length} examples`;
  return examples.length;
}

export const labelsInUse = () => [...new Set(examples.map((each) => each.label.trim()).filter(Boolean))];

// A query in quotes is no good name for a label.
const plain = (text) => (/^[^"()[\]^]+$/.test(text ?? "") && !text.startsWith("LIKE") ? text.trim() : "");
