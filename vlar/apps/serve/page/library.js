// The library: facts, recordings, adding to it.

import { $, busy, clock, el, get, post, showProblem, thumbnail } from "./api.js";
import { watch } from "./jobs.js";
import { play } from "./player.js";

const PAGE = 24;
let shown = 0, changed = () => {};

export function setUp(onChanged) {
  changed = onChanged;
  let waiting = 0;
  $("contains").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => list(true), 250);
  });
  $("more-videos").addEventListener("click", () => list(false));
  $("add-form").addEventListener("submit", (event) => {
    event.preventDefault();
    busy($("add-form").querySelector("button.main"), add);
  });
}

export function open() {
  list(true);
  watch(refresh);
}

function refresh() {
  list(true);
  changed();
}

export function showFacts(found) {
  const { library, roots } = found;
  const facts = [
    ["Recordings", library.videos], ["Windows", library.rows], ["Length", clock(library.duration_s)], ["Model", library.model ?? "lite"],
    ["Window", library.window_s ? `${library.window_s} s, every ${library.stride_s} s` : "-"], ["Search", `${library.engine} (${library.engine_why})`], ["Folder", library.path],
  ];
  $("facts").replaceChildren(...facts.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, String(value))]));
  $("roots").textContent = roots.length ? `Inside ${roots.join(", ")}.` : "No folder may be read: start the server with --root FOLDER.";
}

async function list(again) {
  if (again) shown = 0;
  const found = await get(`/api/videos?offset=${shown}&limit=${PAGE}&contains=${encodeURIComponent($("contains").value)}`);
  const rows = found.videos.map(card);
  if (again) $("videos").replaceChildren(...rows);
  else $("videos").append(...rows);
  shown += rows.length;
  $("videos-status").textContent = `${shown} of ${found.total}`;
  $("more-videos").hidden = shown >= found.total;
}

function card(video) {
  const hit = { ...video, start_s: 0, end_s: video.duration_s };
  const open = () => play(hit, { text: $("text").value.trim(), place: $("library-player"), from: row });
  const tags = Object.entries(video.tags).map(([key, value]) => `${key}=${value}`).join(" · ");
  const row = el("li", { class: "hit" },
    el("button", { type: "button", class: "picture", "aria-label": `Play ${video.name}`, onclick: open },
      el("img", { src: thumbnail(video.video, video.duration_s / 2, 160), alt: "", loading: "lazy" }), el("span", { class: "time" }, clock(video.duration_s))),
    el("div", { class: "hit-body" }, el("p", { class: "hit-title" }, video.name),
      el("p", { class: "hit-line" }, [`${video.windows} windows`, tags].filter(Boolean).join(" · ")), el("p", { class: "hit-line" }, video.path)));
  return row;
}

async function add() {
  showProblem($("add-problem"), null);
  const paths = $("paths").value.split("\n").map((path) => path.trim()).filter(Boolean);
  const pairs = $("tags").value.split(/[,\s]+/).filter(Boolean).map((pair) => [pair.split("=")[0], pair.split("=").slice(1).join("=")]);
  try {
    await post("/api/jobs", { paths, tags: Object.fromEntries(pairs) });
    watch(refresh);
  } catch (problem) {
    showProblem($("add-problem"), problem);
  }
}
