// Labels of the recording that plays: spans that are drawn on tracks, named, and kept with each change.

import { $, clock, download, el, get, isolated, plural, post, showProblem } from "./api.js";
import { dialog, field, named } from "./dialog.js";
import { collect } from "./collected.js";
import { crop } from "./tiles.js";
import { doubtful, fromFile, fromModel, words } from "./tracks.js";

const SNAP_PX = 7, DRAG_PX = 4, LEAST_S = 0.02, MOST_UNDO = 200, COLOURS = 4, AROUND_PX = 100, NARROW_PX = 6;
const NEW = "?"; // the label of a span that has no name yet
let s = null; // the recording: { video, name, version, segments, others, end_s, known, chosen, offered, begun, done, undone, saving, dirty }
let hooks = {}, zoom = 1, tracks = null, head = null, note = null, asked = 0, label = null, track = null;

// Changes that have not reached the library outlast the tab.
const draftOf = (video) => `vlar-labels:${video}`;
function draft(video, value) {
  try {
    if (value === undefined) return JSON.parse(localStorage.getItem(draftOf(video)) ?? "null");
    if (value === null) localStorage.removeItem(draftOf(video));
    else localStorage.setItem(draftOf(video), JSON.stringify(value));
    return true;
  } catch {
    return null; // private windows may keep nothing
  }
}

const hold = ({ video, version, segments }) => draft(video, { version, segments });

// hooks: { now(), seek(seconds), moment() }
export async function open({ video, name }, given) {
  hooks = given;
  if (s?.video === video) return draw();
  close();
  const mine = (s = { video, name, segments: [], others: [], visited: new Set(), chosen: null, offered: null, begun: null, done: [], undone: [], saving: false, dirty: false });
  const found = await get(`api/videos/${video}/labels`).catch(() => null);
  if (mine !== s || !found) return;
  Object.assign(s, { version: found.version, segments: found.segments, end_s: found.duration_s, known: found.known, forms: found.forms, keys: found.keys, open: {} });
  const left = draft(video);
  if (left) Object.assign(s, { version: left.version, segments: left.segments });
  build();
  if (left) save(s);
}

export function close() {
  s = null;
  $("spans").replaceChildren();
}

export function follow(now) {
  if (head && s) head.style.left = `${(100 * Math.min(now, s.end_s)) / s.end_s}%`;
}

addEventListener("resize", look);
addEventListener("beforeunload", (event) => { if ((s?.saving || s?.dirty) && !draft(s.video)) event.preventDefault(); });

// Changes: each can be undone, and is sent at once.

function change(segments, chosen = null) {
  s.done = [...s.done, s.segments].slice(-MOST_UNDO);
  s.undone = [];
  put(segments, chosen);
}

function put(segments, chosen) {
  s.segments = segments;
  s.chosen = chosen;
  s.offered = null;
  draw();
  save(s);
}

function back(from, to) {
  if (!s[from].length) return;
  s[to].push(s.segments);
  put(s[from].pop(), null);
}

function add(start_s, end_s, tier, byKey = false) {
  if (end_s - start_s < LEAST_S) return;
  const made = { start_s, end_s, label: s.last ?? NEW, ...(tier ? { tier } : {}) };
  change([...s.segments, made], made);
  if (byKey && names().length) return; // the next key, 1 to 9, names it
  label.focus();
  label.select();
}

function alter(facts) {
  const old = s.chosen, made = { ...old, ...facts };
  if (!old || !(made.end_s - made.start_s >= LEAST_S)) return;
  if (facts.label) s.last = facts.label;
  change(s.segments.map((each) => (each === old ? made : each)), made);
}

function remove() {
  if (s.chosen) change(s.segments.filter((each) => each !== s.chosen));
}

async function save(mine) {
  mine.dirty = true;
  hold(mine);
  if (mine.saving || mine.refused) return;
  mine.saving = true;
  try {
    while (mine.dirty) {
      mine.dirty = false;
      say("Saving …");
      const { version } = await post(`api/videos/${mine.video}/labels`, { version: mine.version, segments: mine.segments });
      mine.version = version;
    }
    draft(mine.video, null);
    say("Saved in the library.");
  } catch (problem) {
    mine.dirty = true;
    hold(mine);
    if (mine === s) problem.status === 409 ? conflict(mine) : showProblem(note, problem);
  } finally {
    mine.saving = false;
  }
}

function say(text) {
  if (note) note.textContent = text;
}

// Another page changed the labels meanwhile: nothing is overwritten unless the person says so.
async function conflict(mine) {
  mine.refused = true;
  const theirs = await get(`api/videos/${mine.video}/labels`).catch(() => null);
  if (mine !== s || !theirs) return;
  const settle = (work) => () => {
    mine.refused = mine.dirty = false;
    mine.version = theirs.version;
    draft(mine.video, null);
    work();
  };
  note.replaceChildren(el("span", { class: "problem" }, "Somebody else changed these labels meanwhile; yours are not kept yet. "),
    el("button", { type: "button", class: "small", onclick: settle(() => {
      s.done = [...s.done, s.segments];
      s.segments = theirs.segments;
      s.chosen = null;
      draw();
      say("These are theirs; undo brings yours back.");
    }) }, "Show theirs"),
    el("button", { type: "button", class: "small", onclick: settle(() => save(mine)) }, "Keep mine"));
}

// What stands on the screen

const button = (text, onclick, more = {}) => el("button", { type: "button", class: "small", onclick, ...more }, text);

function build() {
  const size = el("input", { type: "range", min: 0, max: 7, step: 0.25, value: 0, "aria-label": "Zoom of the tracks" });
  size.addEventListener("input", () => {
    zoom = 2 ** Number(size.value);
    tracks.style.width = `${100 * zoom}%`;
    look();
    const frame = tracks.parentElement, wide = frame.clientWidth;
    frame.scrollLeft = (Math.min(hooks.now(), s.end_s) / s.end_s) * wide * zoom - wide / 2;
  });
  zoom = 1;
  head = el("div", { class: "spans-head" });
  tracks = el("div", { class: "spans-tracks" });
  note = el("p", { class: "quiet", role: "status" });
  const name = field("span-label", "Label", { maxlength: 200, placeholder: "choose or draw a span" });
  const tier = field("span-track", "Track", { maxlength: 200, placeholder: "labels" });
  [label, track] = [name.input, tier.input];
  label.addEventListener("change", () => { if (label.value.trim()) alter({ label: label.value.trim() }); });
  track.addEventListener("change", () => alter({ tier: track.value.trim() }));
  label.addEventListener("keydown", (event) => { if (event.key === "Enter") label.blur(); });
  s.lists = [name.list, tier.list];
  $("spans").replaceChildren(el("h3", {}, "Labels"),
    el("div", { class: "spans-scroll", tabindex: 0, role: "region", "aria-label": "Tracks of labels; drag to make a span", onscroll: look }, tracks),
    el("div", { class: "fields" }, name.row, tier.row),
    el("ol", { class: "chips", "aria-label": "Labels by number" }),
    el("div", { class: "actions" }, button("[ Start", () => edge(true), { "aria-label": "[ Start here" }), button("] End", () => edge(false), { "aria-label": "] End here" }),
      button("Undo", () => back("done", "undone")), button("Redo", () => back("undone", "done")), button("Delete", remove),
      button("Use as examples", () => {
        const some = s.segments.filter((each) => each.end_s > each.start_s); // a point has no length to learn from
        collect(some.map((each) => ({ ...each, video: s.video, name: s.name })), "", () => say(`${plural(some.length, "example")} added.`));
      }), button("Export", exportAs), size),
    el("div", { class: "actions others", role: "group", "aria-label": "Tracks to compare with" },
      button("Label this moment", moment), button("A model's answers", () => fromModel(s.video, names(), addTrack)),
      button("Another file", () => fromFile(s.video, addTrack)), button("Next doubt", doubt, { "aria-label": "d: next doubt of the model" }),
      button("Take", take, { "aria-label": "t: take this span" })), note);
  draw();
}

// Tracks of others: they are looked at, and what is right is taken.

function addTrack(name, segments) {
  s.others = [...s.others.filter((each) => each[0] !== name), [name, segments]];
  s.offered = null;
  draw();
  say(`${segments.length} spans of ${isolated(name)}.`);
}

// Words that captions quote; they are no guesses, so no doubt of them is asked about.
export function read(video, kinds, written) {
  if (s?.video !== video) return;
  const some = Object.entries(kinds).map(([name, kind]) => [name, written.filter((each) => each.kind === kind).map((each) => ({ ...each, label: each.text })), true]);
  s.others = [...some.filter((each) => each[1].length), ...s.others.filter(([, , isRead]) => !isRead)];
  draw();
}

const guessed = () => s.others.filter(([, , isRead]) => !isRead);

function offer(each) {
  s.offered = each;
  s.chosen = null;
  s.visited.add(each);
  hooks.seek(each.start_s);
  draw();
  say(`${timed(each, words(each))}: take it with t, or label it yourself.`);
  if (each.box) note.append(crop(s.video, each));
}

function doubt() {
  const next = doubtful(guessed(), s.segments, s.visited);
  if (next) return offer(next);
  say(guessed().length ? "No doubt is left." : "Show a model's answers first.");
}

function take() {
  if (!s.offered) return;
  const { start_s, end_s, label: name } = s.offered;
  const made = { start_s, end_s, label: name };
  change([...s.segments, made], made);
}

// The hit that was opened becomes a span; a model's guess is its label.
function moment() {
  const { start_s, end_s, guess } = hooks.moment();
  if (guess) s.last = guess;
  add(start_s, Math.min(end_s, s.end_s), "");
}

const names = () => [...new Set([...s.segments.map((each) => each.label), ...s.known])].filter((each) => each !== NEW);

function draw() {
  if (!s?.end_s) return;
  const tiers = [...new Set(["", ...s.segments.map((each) => each.tier ?? "")])].sort();
  const order = names();
  tracks.replaceChildren(...tiers.map((tier) => {
    const row = el("div", { class: "spans-row" }, el("span", { class: "spans-name" }, tier || "labels"));
    fill(row, s.segments.filter((each) => (each.tier ?? "") === tier), (each) => box(each, order));
    row.addEventListener("pointerdown", (event) => { if (event.target === row && !event.button) drawSpan(event, row, tier); });
    return row;
  }), ...s.others.map(([name, segments]) => {
    const row = el("div", { class: "spans-row other" }, el("span", { class: "spans-name" }, name),
      button("✕", () => {
        s.others = s.others.filter((each) => each[0] !== name);
        s.offered = null;
        draw();
      }, { class: "small plain drop-track", "aria-label": `Remove the track ${name}` }));
    return fill(row, segments, (each) => other(each, order));
  }), head);
  inView();
  const [nameList, tierList] = s.lists;
  nameList.replaceChildren(...order.map((value) => el("option", { value })));
  tierList.replaceChildren(...tiers.filter(Boolean).map((value) => el("option", { value })));
  label.value = s.chosen ? s.chosen.label : "";
  track.value = s.chosen?.tier ?? "";
  for (const each of [label, track]) each.disabled = !s.chosen;
  const bound = Object.entries(s.keys).map(([key, [name]]) => el("li", { class: "quiet" }, el("kbd", {}, key), ` ${name}`));
  $("spans").querySelector("ol").replaceChildren(...bound, ...order.slice(0, 9).map((each, n) =>
    el("li", {}, button(`${n + 1} ${each}`, () => number(n), { class: "small chip" }))));
  const [undo, redo, del] = [...$("spans").querySelectorAll(".actions button")].slice(2, 5);
  [undo.disabled, redo.disabled, del.disabled] = [!s.done.length, !s.undone.length, !s.chosen];
  const [here, , , next, taken] = $("spans").querySelectorAll(".others button");
  here.hidden = !hooks.moment();
  [next.disabled, taken.disabled] = [!guessed().length, !s.offered];
}

// A track of an hour has thousands of spans: those that are in view, or chosen, are elements.
function fill(row, segments, make) {
  row.spans = [...segments].sort((a, b) => a.start_s - b.start_s);
  row.make = make;
  row.boxes = new Map();
  return row;
}

function inView() {
  asked = 0;
  const frame = tracks?.parentElement;
  if (!s?.end_s || !frame?.clientWidth) return;
  const scale = s.end_s / (frame.clientWidth * zoom), from_s = (frame.scrollLeft - AROUND_PX) * scale;
  const to_s = (frame.scrollLeft + frame.clientWidth + AROUND_PX) * scale;
  for (const row of tracks.children) {
    if (!row.spans) continue;
    const shown = distinct(row.spans, from_s, to_s, scale * NARROW_PX), stay = new Set(shown);
    for (const [each, made] of row.boxes) {
      if (stay.has(each) || made === document.activeElement) continue;
      made.remove();
      row.boxes.delete(each);
    }
    let next = null; // by time, as the tab key goes
    for (const each of shown.reverse()) {
      if (!row.boxes.has(each)) row.insertBefore(row.boxes.set(each, row.make(each)).get(each), next);
      next = row.boxes.get(each);
    }
  }
}

// Spans in view; of those too narrow to tell apart, the first, and what is chosen.
function distinct(spans, from_s, to_s, least_s) {
  let last_s = -Infinity;
  return spans.filter((each) => {
    if (each.end_s < from_s || each.start_s > to_s) return false;
    if (each === s.chosen || each === s.offered || each.end_s - each.start_s >= least_s) return true;
    if (each.start_s - last_s < least_s) return false;
    last_s = each.start_s;
    return true;
  });
}

// At most once a frame of the screen.
function look() {
  asked ||= requestAnimationFrame(inView);
}

function lay(made, { start_s, end_s }) {
  const share = (seconds) => `${(100 * seconds) / s.end_s}%`;
  made.style.left = share(start_s);
  made.style.width = share(Math.max(0, end_s - start_s));
  return made;
}

const timed = (each, text) => `${text}, ${clock(each.start_s)} to ${clock(each.end_s)}`;

function placed(each, order, text, chosen, onclick) {
  const at = order.indexOf(each.label);
  const made = el("button", { type: "button", class: `span-box curve-${at < 0 ? 0 : (at % COLOURS) + 1}`, "aria-pressed": each === chosen,
    "aria-label": timed(each, text), title: isolated(text), onclick }, each.label);
  return lay(made, each);
}

const other = (each, order) => placed(each, order, words(each), s.offered, () => offer(each));

function box(each, order) {
  const made = placed(each, order, each.label, s.chosen, () => {
    s.chosen = each;
    s.offered = null;
    hooks.seek(each.start_s);
    draw();
  });
  if (each !== s.chosen) return made;
  for (const end of ["start_s", "end_s"]) {
    const handle = el("span", { class: `handle ${end}` });
    handle.addEventListener("pointerdown", (event) => {
      event.stopPropagation();
      event.preventDefault();
      const value = (move) => near(secondsAt(move), each);
      drag(handle, event, (move) => {
        lay(made, { ...each, [end]: value(move) });
      }, (last) => alter({ [end]: value(last) }));
    });
    made.append(handle);
  }
  return made;
}

const secondsAt = (event) => {
  const place = tracks.getBoundingClientRect();
  return Math.min(s.end_s, Math.max(0, ((event.clientX - place.left) / place.width) * s.end_s));
};

// Ends of other spans and the moment that plays hold what comes near them.
function near(seconds, own = null) {
  const reach = (SNAP_PX * s.end_s) / tracks.getBoundingClientRect().width;
  const edges = [hooks.now(), ...s.segments.filter((each) => each !== own).flatMap((each) => [each.start_s, each.end_s])];
  const best = edges.sort((a, b) => Math.abs(a - seconds) - Math.abs(b - seconds))[0];
  return Math.round(1000 * (Math.abs(best - seconds) <= reach ? best : seconds)) / 1000;
}

function drag(from, event, onMove, onEnd) {
  from.setPointerCapture(event.pointerId);
  let last = event;
  const move = (next) => onMove((last = next));
  from.addEventListener("pointermove", move);
  from.addEventListener("pointerup", () => {
    from.removeEventListener("pointermove", move);
    onEnd(last);
  }, { once: true });
}

function drawSpan(event, row, tier) {
  const from = near(secondsAt(event)), ghost = el("span", { class: "span-box ghost" });
  row.append(ghost);
  drag(row, event, (move) => {
    const to = near(secondsAt(move));
    lay(ghost, { start_s: Math.min(from, to), end_s: Math.max(from, to) });
  }, (last) => {
    ghost.remove();
    const to = near(secondsAt(last));
    if (Math.abs(last.clientX - event.clientX) >= DRAG_PX) return add(Math.min(from, to), Math.max(from, to), tier);
    s.chosen = null;
    hooks.seek(secondsAt(last));
    draw();
  });
}

// Keys: [ and ] set ends at the moment that plays, 1 to 9 name, Delete removes, Ctrl+Z undoes.

function edge(isStart) {
  const now = Math.round(1000 * hooks.now()) / 1000, { chosen, begun } = s;
  if (isStart && chosen && now < chosen.end_s) return alter({ start_s: now });
  if (isStart) {
    s.begun = now;
    s.chosen = null;
    draw();
    return say(`A span begins at ${clock(now)}; ] ends it.`);
  }
  if (begun !== null && now > begun) {
    s.begun = null;
    return add(begun, now, "", true);
  }
  if (chosen) alter({ end_s: now });
}

function number(n) {
  const name = names()[n], now = hooks.now();
  if (!name) return;
  s.chosen ??= s.segments.find((each) => each.start_s <= now && now <= each.end_s) ?? null;
  if (s.chosen) alter({ label: name });
  else s.last = name;
}

// Keys of a project come first: a state begins with its key and ends with it, a point is set at once.

document.addEventListener("keydown", (event) => {
  const [name, isPoint] = s?.end_s && !event.ctrlKey && !event.metaKey && !event.altKey ? s.keys[event.key.toLowerCase()] ?? [] : [];
  if (!name || event.repeat || document.querySelector("dialog[open]") || event.target.closest("input, select, textarea")) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  const now = Math.round(1000 * hooks.now()) / 1000, start_s = isPoint ? now : s.open[name];
  if (start_s === undefined || (!isPoint && now - start_s < LEAST_S)) {
    s.open[name] = now;
    return say(`${name} begins at ${clock(now)}; ${event.key} ends it.`);
  }
  delete s.open[name];
  const made = { start_s, end_s: now, label: name };
  change([...s.segments, made], made);
}, true);

document.addEventListener("keydown", (event) => {
  if (!s?.end_s || document.querySelector("dialog[open]") || event.target.closest("input, select, textarea")) return;
  const isCommand = event.ctrlKey || event.metaKey, key = event.key.toLowerCase();
  const work = isCommand
    ? { z: () => (event.shiftKey ? back("undone", "done") : back("done", "undone")), y: () => back("undone", "done") }[key]
    : { "[": () => edge(true), "]": () => edge(false), delete: remove, backspace: remove, d: doubt, t: take }[key] ?? (/^[1-9]$/.test(key) ? () => number(Number(key) - 1) : null);
  if (!work || event.altKey) return;
  event.preventDefault();
  work();
});

function exportAs() {
  const form = el("select", { id: "span-form" }, ...s.forms.map(([name, ending]) => el("option", { value: name }, `${name} (${ending})`)));
  const all = el("select", { id: "span-of" }, el("option", { value: "" }, "this recording"), el("option", { value: "all" }, "all that have labels"));
  const fps = el("input", { id: "span-fps", type: "number", min: 1, step: "any" });
  dialog("Export labels", [named("Format", form), named("Of", all), named("Frames a second, where the format counts frames", fps)], [["Export", () => {
    const ending = s.forms.find(([name]) => name === form.value)[1];
    return download("api/labels/export", { form: form.value, videos: all.value ? null : [s.video], fps: Number(fps.value) || null }, `labels${ending}`);
  }]]);
}
