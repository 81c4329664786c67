// One player: it plays a moment of a recording, and draws how well a query fits each window.

import { $, clock, el, get, isolated, post } from "./api.js";
import { draw, legend } from "./curve.js";
import { nameOf } from "./sections.js";
import * as spans from "./spans.js";
import { example, frameOf, phraseOf } from "./tiles.js";

const MOST_CUT_S = 60;
const video = $("video");
let moment = null; // { video, name, start_s, end_s, offset_s, stop_s, cut }
let hooks = {}, curve = null, asked = 0, people = [], written = [], speech = null;

// hooks: { text, from, step(by), like(hit), judge(hit, shows), onClose() }
export function play(hit, given) {
  moment = { ...hit, offset_s: 0, stop_s: hit.whole ? null : hit.end_s, cut: false };
  hooks = given;
  people = [];
  written = [];
  caption();
  $("player").hidden = false;
  document.body.classList.add("playing");
  $("player-title").textContent = hit.whole ? isolated(hit.name) : `${isolated(hit.name)}, ${clock(hit.start_s)} to ${clock(hit.end_s)}`;
  $("player-note").textContent = "";
  for (const name of ["player-before", "player-next"]) $(name).hidden = !hooks.step;
  unmark();
  given.from?.setAttribute("data-playing", "");
  video.src = `api/videos/${hit.video}/file#t=${hit.start_s}`;
  start();
  actions(hit);
  timeline(hit, given.text);
  spans.open(hit, { now: () => video.currentTime + (moment?.offset_s ?? 0), seek, moment: () => (moment && !moment.whole ? hit : null) });
  loadRows(hit.video);
  if (matchMedia("(max-width: 59.99rem)").matches) $("player").scrollIntoView({ block: "start" });
}

function unmark() {
  for (const each of document.querySelectorAll("[data-playing]")) each.removeAttribute("data-playing");
}

export const isOpen = (name) => moment !== null && (!name || name === nameOf(moment));

function actions(hit) {
  const end_s = Math.min(hit.end_s, hit.start_s + MOST_CUT_S);
  const file = `api/videos/${hit.video}/span?start_s=${hit.start_s}&end_s=${end_s}`;
  const stem = hit.name.replace(/\.[^.]*$/, "");
  $("player-actions").replaceChildren(
    el("a", { class: "button small", href: file, download: `${stem} ${Math.round(hit.start_s)}-${Math.round(end_s)} s.mp4` }, hit.end_s > end_s ? "Download the first minute" : "Download"),
    ...(hooks.like ? [el("button", { type: "button", class: "small", onclick: () => hooks.like(hit) }, "Like this")] : []),
    example(hit, hooks.text));
}

function start() {
  const mine = moment;
  video.addEventListener("loadedmetadata", () => {
    if (mine !== moment) return;
    if (!video.videoWidth) return useCut(); // sound plays, the pictures do not
    video.currentTime = Math.max(0, moment.start_s - moment.offset_s);
    video.play().catch(() => {});
  }, { once: true });
}

function useCut() {
  if (!moment || moment.cut) {
    if (moment?.cut) $("player-note").textContent = "This moment cannot be played: the file may have moved, or is damaged.";
    return;
  }
  const end = Math.min(moment.end_s, moment.start_s + MOST_CUT_S);
  Object.assign(moment, { cut: true, offset_s: moment.start_s, stop_s: end });
  $("player-note").textContent = "Browsers do not play this kind of file: this is a cut of the moment.";
  video.src = `api/videos/${moment.video}/span?start_s=${moment.start_s}&end_s=${end}`;
  caption();
  start();
}

video.addEventListener("error", () => { if (video.getAttribute("src")) useCut(); });
video.addEventListener("timeupdate", () => {
  if (!moment) return;
  const now = video.currentTime + moment.offset_s;
  if (moment.stop_s !== null && now >= moment.stop_s) {
    video.pause(); // once: playing on continues into the rest of the file
    moment.stop_s = null;
  }
  curve?.head(now);
  spans.follow(now);
  showPeople(now);
});

// quiet: the address changes by itself.
export function close({ quiet = false } = {}) {
  if (!moment) return;
  moment = null;
  asked += 1;
  spans.close();
  video.removeAttribute("src");
  video.load();
  $("player").hidden = true;
  document.body.classList.remove("playing");
  document.querySelector("[data-playing] .picture")?.focus();
  unmark();
  if (!quiet) hooks.onClose?.();
}
$("player-close").addEventListener("click", () => close());
$("player-before").addEventListener("click", () => hooks.step?.(-1));
$("player-next").addEventListener("click", () => hooks.step?.(1));
document.addEventListener("keydown", (event) => {
  if (!moment || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (event.key === "Escape") return close();
  if (event.target.closest("input, select, textarea, summary, a, [contenteditable]")) return;
  if (event.key === "j") hooks.step?.(1);
  if (event.key === "k") hooks.step?.(-1);
  if ((event.key === "y" || event.key === "n") && moment.row && !event.target.closest(".hit")) hooks.judge?.(moment, event.key === "y");
  if (event.key === " " && !event.target.closest("button, video")) {
    event.preventDefault();
    if (video.paused) video.play().catch(() => {});
    else video.pause();
  }
});

function seek(seconds) {
  if (!moment) return;
  if (moment.cut) {
    Object.assign(moment, { cut: false, start_s: seconds, end_s: seconds + 10 });
    useCut();
    return;
  }
  moment.stop_s = null;
  video.currentTime = seconds;
  video.play().catch(() => {});
}

async function timeline(hit, text) {
  const place = $("timeline"), mine = ++asked;
  place.replaceChildren();
  curve = null;
  if (!text) return;
  const found = await post("api/timeline", { text, video: hit.video }).catch(() => null); // it plays all the same
  if (mine !== asked || !found?.end_s) return;
  const curves = found.curves.map((each) => ({
    name: phraseOf(each), windows: each.windows, values: each.probability ?? each.similarity, share: Boolean(each.probability),
  }));
  const unit = curves.every((each) => each.share);
  curve = draw(place, { end_s: found.end_s, curves, span: [hit.start_s, hit.end_s], seek, unit });
  place.append(legend(curves, seek));
}

// What is said stands below the picture, and with what is on screen on tracks of its own.
function caption() {
  if (!speech && !written.length) return;
  speech ??= video.addTextTrack("captions", "speech");
  speech.mode = "showing";
  for (const cue of [...speech.cues]) speech.removeCue(cue);
  for (const { kind, start_s, end_s, text } of written) {
    if (kind === "says" && end_s > moment.offset_s) speech.addCue(new VTTCue(Math.max(0, start_s - moment.offset_s), end_s - moment.offset_s, text));
  }
}

async function loadRows(id) {
  const found = await get(`api/videos/${id}/rows`).catch(() => null);
  if (moment?.video !== id) return;
  written = found?.written ?? [];
  caption();
  spans.read(id, { speech: "says", "on screen": "shows" }, written);
  if (!found?.people?.length) return $("people-layer").replaceChildren();
  people = found.people;
  showPeople(video.currentTime + moment.offset_s);
}

// Boxes of the window whose middle is nearest: a box is that of the middle of its window.
function showPeople(now) {
  const layer = $("people-layer");
  if (!people.length || !video.videoWidth) return layer.replaceChildren();
  const far = (each) => Math.abs((each.start_s + each.end_s) / 2 - now);
  const least = Math.min(...people.map(far));
  const shown = people.filter((each) => far(each) - least < 1e-6 && now >= each.start_s && now <= each.end_s);
  layer.replaceChildren(...shown.map((each) => {
    const made = frameOf(each.box, video, "meet");
    made.dataset.track = each.track;
    return made;
  }));
}
