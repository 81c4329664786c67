// The workbench: a query or a view of the library, its facets, its moments as tiles, the open moment.

import { $, busy, dropPlace, el, get, isolated, percent, plural, post, showProblem, upload } from "./api.js";
import * as address from "./address.js";
import { close, isOpen, load as loaded, nameOf, play } from "./sections.js";
import { show as showSelection } from "./selection.js";
import { tile } from "./tiles.js";

const HELP = [
  ["riding a bike", "moments that show it"],
  ['"a cup" AND "a hand"', "moments that show both"],
  ['"a cup" OR "a glass"', "moments that show either"],
  ['"riding a bike" AND NOT "a street"', "the one without the other"],
  ['"sit down" THEN "stand up" WITHIN 10s', "the second at most 10 s after the first"],
  ['"a cup"^2 AND "a hand"', "the cup counts twice"],
  ["[verb=cut|peel object=apple|pear]", "any of the four pairs"],
  ['"eggs" IN "*cooking*"', "only recordings whose path matches"],
];
const FILTERS = [
  ["place=gym", "the tag has this value"], ["place!=gym", "it has not"], ["year>=2020", "as numbers, else as text"],
  ["path=*cooking*", "a file, a folder or a pattern"], ["start_s>=10", "moments from second 10 on"], ["duration_s<600", "recordings under ten minutes"],
  ["labelled=no", "nobody labelled a span yet"], ["labelled=walk", "a span has this label"],
  ["added>=2026-05-01", "indexed since that day"], ["modified<2026-05-01", "the file is older"],
];
const SORTS = { all: [["", "by path"], ["name", "by name"], ["longest", "longest first"], ["shortest", "shortest first"], ["newest", "newest first"]],
  hits: [["", "best first"], ["name", "by name"], ["longest", "longest first"], ["newest", "newest first"]] };
const START = { q: "", w: [], v: "all", m: "", l: "", s: "" };
// Parts of a vector, as people call what they hold.
const PLAIN = { objects: "what is in the picture", motion: "how things move", body: "how bodies move", clip: "how the picture looks", sound: "what is heard" };
const PAGE = 40, FEW = 6;
let state = { ...START }, shown = "", asked = 0, offset = 0, tried = false;
let changed = () => {}, adding = null; // the page's answer to new recordings; the module of the place for videos
let judged = new Map(); // of the present text: whether a row shows what is meant

export function setUp(given) {
  changed = given;
  $("help-rows").replaceChildren(...HELP.flatMap(([text, meaning]) =>
    [el("dt", {}, el("button", { type: "button", class: "small", onclick: () => go({ q: text, v: "all" }) }, text)), el("dd", {}, meaning)]));
  $("filter-help-rows").replaceChildren(...FILTERS.flatMap(([text, meaning]) => [el("dt", {}, el("code", {}, text)), el("dd", {}, meaning)]));
  $("sort").addEventListener("change", () => go({ s: $("sort").value }));
  $("search-form").addEventListener("submit", (event) => {
    event.preventDefault();
    go({ q: $("text").value.trim(), v: "all", m: "" }, { again: true });
  });
  $("least").addEventListener("input", () => { $("least-shown").textContent = percent(Number($("least").value)); });
  for (const name of ["least", "k", "one", "written", "miss"]) $(name).addEventListener("change", () => { if (state.q) go({}, { again: true }); });
  $("filter").addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    const text = $("filter").value.trim();
    $("filter").value = "";
    if (text) go({ w: [...new Set([...state.w, text])], m: "" });
  });
  for (const button of document.querySelectorAll("[data-kind]")) {
    button.addEventListener("click", () => go({ v: button.dataset.kind, q: "", m: "" }));
  }
  $("layout").addEventListener("click", () => go({ l: state.l ? "" : "list" }));
  $("save-view").addEventListener("click", saveView);
  $("size").addEventListener("input", size);
  $("more").addEventListener("click", () => busy($("more"), () => recordings(asked)));
  $("facet-button").addEventListener("click", () => facetsOpen($("facets").hidden));
  facetsOpen(matchMedia("(min-width: 60rem)").matches);
  $("like").addEventListener("click", () => $("like-file").click());
  dropPlace($("view-search"), $("like-file"), (files, transfer) => (isBare() ? adding?.take(transfer) : like(files[0])));
  size();
}

function facetsOpen(open) {
  $("facets").hidden = !open;
  $("facet-button").setAttribute("aria-expanded", open);
}

function size() {
  document.documentElement.style.setProperty("--tile", `${$("size").value}px`);
}

// Changes the state and the address; the page follows.
function go(changes, { again = false } = {}) {
  if ("q" in changes && changes.q !== state.q) judged = new Map();
  state = { ...state, ...changes };
  if (again) shown = "";
  write();
  render();
}

const write = (options) => address.write("search", { ...state, v: state.v === "all" ? "" : state.v }, options);

// Shows what the address says: at the start, and after "back".
export function restore(values) {
  state = { ...START, q: values.get("q") ?? "", w: values.getAll("w"), v: values.get("v") || "all", m: values.get("m") ?? "", l: values.get("l") ?? "", s: values.get("s") ?? "" };
  return render();
}

// After a change of the library.
export function again() {
  shown = "";
  if (!$("view-search").hidden) render();
}

function render() {
  $("text").value = state.q;
  if (!state.m) close({ quiet: true });
  for (const button of document.querySelectorAll("[data-kind]")) button.setAttribute("aria-pressed", !state.q && button.dataset.kind === state.v);
  $("layout").setAttribute("aria-pressed", state.l === "list");
  $("hits").classList.toggle("list", state.l === "list");
  $("map").hidden = Boolean(state.q) || state.v !== "map";
  if (!state.q.includes('"upload:')) $("like-line").hidden = true;
  showFilters();
  showProblem($("filter-problem"), null);
  tries();
  const sorts = SORTS[state.q || state.v !== "all" ? "hits" : "all"];
  $("sort").replaceChildren(...sorts.map(([value, words]) => el("option", { value }, words)));
  $("sort").value = sorts.some(([value]) => value === state.s) ? state.s : "";
  $("sort").hidden = !state.q && state.v === "map";
  const wanted = JSON.stringify([state.q, state.w, state.v, state.s]);
  if (wanted === shown) return openMoment();
  shown = wanted;
  return load().finally(facets); // pictures first
}

async function load() {
  const mine = ++asked;
  $("judged-line").hidden = true;
  showProblem($("text-problem"), null);
  $("more").hidden = true;
  const view = state.v;
  if (state.q) return search(mine);
  $("search-form").querySelector("button.main").disabled = false;
  $("search-status").textContent = "Loading …";
  shimmer();
  offset = 0;
  try {
    if (view === "all") return await recordings(mine);
    if (view === "map") {
      $("hits").replaceChildren();
      const found = await made(`api/map?${filters()}`, mine);
      const map = await loaded(() => import("./map.js"));
      if (mine === asked) map.show(found, { onSelect: (hits, n) => showTiles(hits, `${n} windows chosen.`), like });
      if (mine === asked) $("search-status").textContent = found.points?.length ? `${found.points.length} of ${found.windows} windows. Draw around some to select them.` : "The library is empty.";
      return;
    }
    const found = await made(`api/views/${view}?${filters()}`, mine);
    if (mine !== asked) return;
    const hits = view === "duplicates"
      ? (found.groups ?? []).flatMap((group, at) => group.map((each, n) => ({ ...each, note: n ? `shows the same as ${isolated(group[0].name)}` : `group ${at + 1}` })))
      : (found.hits ?? []);
    const words = {
      highlights: "Windows that stand out in their own recording.", unusual: "Windows that resemble no other recording.",
      duplicates: "Recordings that show the same, group by group; the oldest first.",
    };
    showTiles(hits, hits.length ? words[view] : "Nothing stands out.");
  } catch (problem) {
    if (mine === asked) refused(problem);
  }
}

// A view that the server is making; it is made once, and whoever opens something else does not wait.
async function made(path, mine) {
  for (;;) {
    const found = await get(path);
    if (mine !== asked || !found.preparing || (found.points ?? found.groups ?? found.hits ?? []).length) return found;
    $("search-status").textContent = "Loading … This view is made once for this library. Everything else answers meanwhile.";
    await new Promise((resolve) => setTimeout(resolve, 1000));
    if (mine !== asked) return found;
  }
}

const isBare = () => $("view-search").classList.contains("bare");

// An empty library: a place for videos stands where its moments would.
async function bare() {
  $("hits").replaceChildren();
  $("view-search").classList.add("bare");
  $("search-status").textContent = state.q ? "The library is empty: drop videos here." : "";
  adding = await loaded(() => import("./adding.js"));
  adding.show(changed);
}

// What is wrong is said where it stands: a filter at its chip, anything else at the query.
async function refused(problem) {
  if (problem.body?.kind === "empty") return bare();
  const mine = asked;
  const before = shownTiles().length; // they stay in view
  if (!before) $("hits").replaceChildren();
  $("search-status").textContent = before ? `Nothing was asked. These are the ${before} of before.` : "";
  const position = problem.body?.position;
  if (problem.status === 400 && typeof position !== "number") {
    const tests = await Promise.all(state.w.map((text) => get(`api/facets?where=${encodeURIComponent(text)}`).then(() => null, (wrong) => wrong)));
    if (mine !== asked) return;
    const at = tests.findIndex((wrong) => wrong?.status === 400);
    if (at >= 0) {
      facetsOpen(true);
      const chip = $("filter-list").children[at].firstChild;
      chip.classList.add("wrong");
      const { fix, ...body } = tests[at].body;
      showProblem($("filter-problem"), { body: { ...body, fix: fix === "see the documentation" ? "" : fix } });
      $("filter-problem").firstChild.append(el("button", { type: "button", class: "small", onclick: () => {
        $("filter-help").open = true;
        $("filter-help").querySelector("summary").focus();
      } }, "How to write a filter"));
      chip.setAttribute("aria-describedby", "filter-problem");
      return;
    }
  }
  showProblem($("text-problem"), problem);
  if (typeof position !== "number") return;
  $("text").focus();
  $("text").setSelectionRange(position, position + 1);
}

const shownTiles = () => [...$("hits").querySelectorAll(".hit")].filter((row) => row.moment);

// What was shown stays, dimmed, until the next answer is there.
function shimmer() {
  $("hits").classList.add("stale");
  if (shownTiles().length) return;
  $("hits").replaceChildren(...Array.from({ length: 12 }, () => el("li", { class: "hit waiting", "aria-hidden": "true" }, el("div", { class: "picture loading" }))));
}

async function recordings(mine) {
  const query = new URLSearchParams([["offset", offset], ["limit", PAGE], ["sort", state.s || "path"], ...state.w.map((each) => ["where", each])]);
  const found = await get(`api/videos?${query}`);
  if (mine !== asked) return;
  if (!found.total && !state.w.length) return bare();
  const hits = found.videos.map((video) => ({ ...video, start_s: 0, end_s: video.duration_s, whole: true }));
  const total = plural(found.total, "recording");
  showTiles(hits, found.total ? `${Math.min(offset + hits.length, found.total)} of ${total}.` : "No recording passes these filters.", offset > 0);
  offset += hits.length;
  $("more").hidden = offset >= found.total;
}

async function search(mine, least = Number($("least").value)) {
  const text = state.q;
  $("search-status").textContent = "Searching …";
  shimmer();
  const button = $("search-form").querySelector("button.main");
  button.disabled = true;
  try {
    const body = { text, k: Number($("k").value), where: state.w, min_probability: least, one_per_recording: $("one").checked };
    if (judged.size) Object.assign(body, { yes: rows(true), no: rows(false) });
    else if ($("miss").value) body.miss = Number($("miss").value);
    else if ($("written").checked) body.only = null;
    const found = await post("api/query", body);
    if (mine !== asked) return;
    address.remember(text);
    showAnswers(found, least);
    showJudged(found.decides);
  } catch (problem) {
    if (mine === asked) refused(problem);
  } finally {
    if (mine === asked) button.disabled = false;
  }
}

const rows = (shows) => [...judged].filter(([, each]) => each === shows).map(([row]) => row);

// A click on "Yes" or "No", or the keys y and n: the answer learns from it at once.
async function judge(hit, shows) {
  const here = $("hits").contains(document.activeElement);
  judged.set(hit.row, shows);
  shownTiles().find((row) => row.moment.row === hit.row)?.remove();
  await search(++asked);
  if (here) ($("hits").querySelector(".hit .picture") ?? $("judged-line").querySelector("button"))?.focus(); // the keys go on
}

function showJudged(decides = {}) {
  const line = $("judged-line");
  line.hidden = !judged.size;
  if (!judged.size) return;
  const [name, share] = Object.entries(decides).sort((a, b) => b[1] - a[1])[0] ?? ["", 0];
  const forget = () => { judged = new Map(); search(++asked); };
  const keep = async () => {
    const { dialog, field } = await import("./dialog.js");
    const name = field("concept-name", "Name, which queries write in quotes", { required: true, maxlength: 100, value: /["()[\]]/.test(state.q) ? "" : state.q });
    dialog("Save as a concept", [el("p", {}, `What ${line.firstChild.textContent.split(".")[0]} taught about “${state.q}”.`), name.row], [["Save", async () => {
      const kept = await post("api/concepts", { name: name.input.value, text: state.q, yes: rows(true), no: rows(false) });
      concepts = [...new Set([...concepts, kept.name])];
      go({ q: `"${kept.name}"`, v: "all", m: "" }, { again: true });
    }]]);
    name.input.select();
  };
  line.replaceChildren(el("span", {}, `${rows(true).length} yes, ${rows(false).length} no. ${share ? `The order now follows mostly ${PLAIN[name] ?? name}. ` : ""}`),
    el("button", { type: "button", class: "small", onclick: keep }, "Save as a concept"),
    el("button", { type: "button", class: "small", onclick: forget }, "Forget"));
}

function showAnswers(found, least) {
  const hits = found.hits.filter((hit) => !judged.has(hit.row)); // what was judged leaves
  if (hits.length) {
    const searched = `${plural(found.windows, "window")} of ${plural(found.videos, "recording")} searched`;
    return showTiles(hits, `${found.note ?? ""} ${searched}.`);
  }
  if (found.hits.length) return showTiles([], "All that was found is judged.");
  showTiles([], "");
  const all = el("button", { type: "button", onclick: () => search(++asked, 0) }, "Show the nearest anyway");
  $("hits").append(el("li", { class: "empty", role: "status" }, el("p", {}, el("strong", {}, found.note ?? "No match.")), least > 0 && found.windows ? all : null));
}

function showTiles(hits, line, append = false) {
  const hooks = { play: open, like: likeMoment, text: state.q, judge: state.q ? judge : null };
  const make = (some, from) => some.map((hit, at) => tile(hit, append ? 99 : from + at, hooks));
  const { first, weaker } = folded(sorted(hits));
  const counted = () => (state.q && hits.length ? `${plural(hits.length - weaker.length, "moment")}${weaker.length ? `, and ${weaker.length} weaker` : ""}. ` : "");
  const words = counted() + line;
  $("view-search").classList.remove("bare");
  $("hits").classList.remove("stale");
  const tiles = make(first, 0);
  if (append) $("hits").append(...tiles);
  else $("hits").replaceChildren(...tiles);
  if (weaker.length) {
    const fold = el("li", { class: "fold" }, el("button", { type: "button", "aria-expanded": false, onclick: () => {
      const more = make(weaker, first.length);
      fold.replaceWith(...more);
      more[0].querySelector(".picture").focus();
      weaker.length = 0;
      $("search-status").textContent = counted() + line;
      showSelection();
    } }, weaker.length === 1 ? "1 weaker one" : `${weaker.length} weaker ones`));
    $("hits").append(fold);
  }
  $("search-status").textContent = words;
  showSelection();
  openMoment();
}

// Weak answers after the first row stand behind one button.
function folded(hits) {
  if (!state.q) return { first: hits, weaker: [] };
  const columns = getComputedStyle($("hits")).gridTemplateColumns.split(" ").length;
  const row = columns > 1 ? columns : FEW, sure = hits.filter((hit) => !hit.weak).length;
  let room = Math.max(row, Math.ceil(sure / columns) * columns) - sure; // of weak ones in view
  const first = hits.filter((hit) => !hit.weak || room-- > 0);
  return { first, weaker: hits.filter((hit) => !first.includes(hit)) };
}

function sorted(hits) {
  const by = {
    name: (a, b) => a.name.localeCompare(b.name) || a.start_s - b.start_s,
    longest: (a, b) => b.end_s - b.start_s - (a.end_s - a.start_s),
    newest: (a, b) => (b.added_s ?? 0) - (a.added_s ?? 0),
  }[state.q || state.v !== "all" ? state.s : ""];
  return by ? [...hits].sort(by) : hits;
}

// The open moment

function open(hit, row) {
  state.m = nameOf(hit);
  write({ replace: isOpen() });
  play(hit, { text: state.q, from: row, step, like: likeMoment, judge: state.q && !hit.parts ? judge : null, onClose: () => {
    state.m = "";
    write();
  } });
}

function openMoment() {
  if (!state.m) return;
  const rows = [...$("hits").querySelectorAll(".hit:not(.waiting, .empty)")].filter((row) => row.moment);
  const row = rows.find((each) => nameOf(each.moment) === state.m);
  if (isOpen(state.m)) return;
  if (row) return open(row.moment, row);
  const [video, start_s, end_s] = state.m.split("_");
  if (!/^[0-9a-f]{20}$/.test(video) || !(Number(end_s) > Number(start_s))) return;
  get(`api/videos/${video}/rows`).then(
    (found) => open({ video, name: found.name, path: found.path, start_s: Number(start_s), end_s: Number(end_s) }, null),
    (problem) => showProblem($("text-problem"), problem),
  );
}

function step(by) {
  const rows = [...$("hits").querySelectorAll(".hit")].filter((row) => row.moment);
  const at = rows.findIndex((row) => nameOf(row.moment) === state.m);
  const row = rows[at < 0 ? 0 : at + by], fold = $("hits").querySelector(".fold button");
  if (!row && by > 0 && fold) {
    fold.click(); // the weaker ones follow
    return step(by);
  }
  if (!row) return;
  open(row.moment, row);
  row.scrollIntoView({ block: "nearest" });
}

// Queries by example

function likeMoment(hit) {
  const end_s = hit.whole ? Math.min(hit.end_s, hit.start_s + 10) : hit.end_s;
  go({ q: `LIKE "video:${hit.video}"@${hit.start_s}s-${end_s}s`, v: "all", m: "" }, { again: true });
}

async function like(file) {
  if (!file) return;
  showProblem($("text-problem"), null);
  $("like-line").hidden = false;
  $("like-line").textContent = `Sending ${file.name} …`;
  try {
    const { id } = await upload(file, (share) => { $("like-line").textContent = `Sending ${file.name}, ${percent(share)}`; });
    $("like-line").textContent = `Like ${file.name}.`;
    go({ q: `LIKE "upload:${id}"`, v: "all", m: "" }, { again: true });
  } catch (problem) {
    $("like-line").hidden = true;
    showProblem($("text-problem"), problem);
  }
}

// Filters

function showFilters() {
  $("filter-list").replaceChildren(...state.w.map((text) =>
    el("li", {}, el("button", { type: "button", class: "small", "aria-label": `Remove the filter ${text}`, onclick: () => go({ w: state.w.filter((each) => each !== text), m: "" }) }, `${text} ✕`))));
  $("filter-count").textContent = state.w.length;
  $("filter-count").hidden = !state.w.length;
}

const filters = () => new URLSearchParams(state.w.map((each) => ["where", each]));

export function showKeys(tagKeys) {
  const keys = [...tagKeys.map((key) => `${key}=`), "path=", "start_s>=", "end_s<=", "duration_s<", "added>=", "modified>=", "labelled="];
  $("filter-keys").replaceChildren(...keys.map((key) => el("option", { value: key })));
}

async function facets() {
  const found = await get(`api/facets?${filters()}`).catch(() => null); // the results name what is wrong
  if (!found) return;
  const list = (values) => el("ul", { class: "facet" }, ...values.map((value) => el("li", {}, facet(value))));
  $("facet-list").replaceChildren(...found.facets.map(({ name, values }) =>
    el("details", { open: true }, el("summary", {}, name), list(values.slice(0, FEW)),
      values.length > FEW ? el("details", { class: "rest" }, el("summary", {}, `${values.length - FEW} more`), list(values.slice(FEW))) : null)));
}

function facet({ text, count, where }) {
  if (!where.length) return el("span", { class: "fact" }, el("span", {}, text), el("b", {}, count));
  const on = where.every((each) => state.w.includes(each));
  return el("button", { type: "button", class: "fact", "aria-pressed": on, onclick: () => {
    const others = state.w.filter((each) => !where.includes(each));
    go({ w: on ? others : [...others, ...where], m: "" });
  } }, el("span", {}, text), el("b", {}, count));
}

// What to try: queries that this library answers, and those of before

let suggested = [], concepts = [];

export async function suggest() {
  if (tried) return;
  tried = true;
  concepts = ((await get("api/concepts").catch(() => ({}))).concepts ?? []).map((each) => each.name);
  for (let found = { preparing: true }; found.preparing;) {
    found = await get("api/suggestions").catch(() => ({}));
    suggested = found.queries ?? [];
    $("tries").classList.add("settled"); // no room is kept for what does not come yet
    tries();
    if (found.preparing) await new Promise((resolve) => setTimeout(resolve, 3000));
  }
}

// A view is its query, filters, order and kind, under a name; it is of this browser, its address of everybody.
async function saveView() {
  const { dialog, field, named } = await import("./dialog.js");
  const { m, ...rest } = state;
  const hash = address.hashOf("search", { ...rest, v: rest.v === "all" ? "" : rest.v });
  const name = field("view-name", "Name", { required: true, maxlength: 100, value: [state.q || state.v, ...state.w].join(", ") });
  const link = el("input", { id: "view-address", type: "text", readonly: true, value: new URL(hash, location.href).href });
  dialog("Save this view", [name.row, named("Its address, for others", link)], [["Save", () => {
    address.saveView(name.input.value.trim() || "view", hash);
    tries();
  }]]);
  name.input.select();
}

function views() {
  return address.saved().map(([name, hash]) => el("li", {},
    el("a", { class: "button small chip", href: hash }, name),
    el("button", { type: "button", class: "small plain", "aria-label": `Forget the view ${name}`, onclick: () => {
      address.saveView(name, null);
      tries();
    } }, "✕")));
}

function tries() {
  const chip = (text) => el("li", {}, el("button", { type: "button", class: "small chip", onclick: () => go({ q: text, v: "all", m: "" }, { again: true }) }, text));
  const list = (name, chips) => (chips.length ? el("div", {}, el("span", { class: "quiet", id: `tries-${name}` }, `${name}:`), el("ul", { class: "chips", "aria-labelledby": `tries-${name}` }, ...chips)) : null);
  const row = (name, texts) => list(name, texts.map(chip));
  $("tries").replaceChildren(...[list("Views", views()), row("Try", suggested), row("Concepts", concepts.map((name) => `"${name}"`)), row("Recent", address.recent().filter((text) => !suggested.includes(text) && !concepts.includes(text.slice(1, -1)) && text !== state.q))].filter(Boolean));
}
