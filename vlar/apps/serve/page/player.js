// One player: it plays a moment of a recording, and draws how well a query fits each window.

import { $, clock, el, percent, post, svg } from "./api.js";

const COLOURS = 4, HEIGHT = 120, LEFT = 4, TOP = 8, BOTTOM = 96;
const video = $("video");
let moment = null; // { video, name, start_s, end_s, offset_s, stop_s }
let head = null, scale = null, asked = 0;

export function play(hit, { text, place, from }) {
  moment = { ...hit, offset_s: 0, stop_s: hit.end_s, cut: false };
  place.append($("player"));
  $("player").hidden = false;
  $("player-title").textContent = `${hit.name}, ${clock(hit.start_s)} to ${clock(hit.end_s)}`;
  $("player-note").textContent = "";
  for (const each of document.querySelectorAll("[data-playing]")) each.removeAttribute("data-playing");
  from?.setAttribute("data-playing", "");
  video.src = `/api/videos/${hit.video}/file#t=${hit.start_s}`;
  start();
  drawTimeline(hit, text);
  if (matchMedia("(max-width: 59.99rem)").matches) $("player").scrollIntoView({ block: "start" });
}

function start() {
  video.addEventListener("loadedmetadata", () => {
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
  const end = Math.min(moment.end_s, moment.start_s + 60);
  Object.assign(moment, { cut: true, offset_s: moment.start_s, stop_s: end });
  $("player-note").textContent = "Browsers do not play this kind of file: this is a cut of the moment.";
  video.src = `/api/videos/${moment.video}/span?start_s=${moment.start_s}&end_s=${end}`;
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
  if (head && scale) for (const end of ["x1", "x2"]) head.setAttribute(end, scale(now));
});

export function close() {
  moment = null;
  asked += 1;
  video.removeAttribute("src");
  video.load();
  $("player").hidden = true;
  document.querySelector("[data-playing] .picture")?.focus();
  for (const each of document.querySelectorAll("[data-playing]")) each.removeAttribute("data-playing");
}
$("player-close").addEventListener("click", close);
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !$("player").hidden && !document.querySelector("dialog[open]")) close();
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

async function drawTimeline(hit, text) {
  const place = $("timeline"), mine = ++asked;
  place.replaceChildren();
  head = scale = null;
  if (!text) return;
  let found;
  try {
    found = await post("/api/timeline", { text, video: hit.video });
  } catch {
    return; // the moment plays all the same
  }
  if (mine !== asked || !found.end_s) return;
  const WIDTH = Math.max(280, place.clientWidth); // one unit is one pixel: text keeps its size
  scale = (seconds) => LEFT + (WIDTH - 2 * LEFT) * Math.min(1, seconds / found.end_s);
  const height = (value) => BOTTOM - (BOTTOM - TOP) * Math.max(0, Math.min(1, value));
  const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img" });
  picture.setAttribute("aria-label", `Scores over ${clock(found.end_s)}; the best moments are listed below`);
  picture.append(svg("rect", { class: "span", x: scale(hit.start_s), y: TOP, width: Math.max(2, scale(hit.end_s) - scale(hit.start_s)), height: BOTTOM - TOP }));
  for (const y of [0, 0.5, 1]) picture.append(svg("line", { class: "axis", x1: LEFT, x2: WIDTH - LEFT, y1: height(y), y2: height(y), "stroke-opacity": y ? 0.35 : 1 }));
  picture.append(label(LEFT, HEIGHT - 6, "0:00", "start"), label(WIDTH - LEFT, HEIGHT - 6, clock(found.end_s), "end"));
  const legend = el("ul", { class: "legend" });
  found.curves.forEach((curve, index) => {
    const values = curve.probability ?? curve.similarity;
    const colour = `curve curve-${(index % COLOURS) + 1}`;
    const points = curve.windows.map(([from, to], at) => `${scale((from + to) / 2)},${height(values[at])}`);
    const [first, last] = [values[0], values.at(-1)];
    if (points.length) picture.append(svg("polyline", { class: colour, points: [`${LEFT},${height(first)}`, ...points, `${WIDTH - LEFT},${height(last)}`].join(" ") }));
    legend.append(legendLine(curve, values, colour));
  });
  head = svg("line", { class: "head", x1: scale(hit.start_s), x2: scale(hit.start_s), y1: TOP - 4, y2: BOTTOM + 4 });
  picture.append(head);
  picture.addEventListener("click", (event) => {
    const box = picture.getBoundingClientRect();
    seek(Math.max(0, (event.clientX - box.left) / box.width) * found.end_s);
  });
  place.append(picture, legend);
}

function label(x, y, text, anchor) {
  const made = svg("text", { x, y, "text-anchor": anchor });
  made.textContent = text;
  return made;
}

function legendLine(curve, values, colour) {
  const sample = svg("svg", { viewBox: "0 0 32 10", "aria-hidden": "true" }, svg("line", { class: colour, x1: 0, x2: 32, y1: 5, y2: 5 }));
  const best = values.map((value, at) => [value, at]).sort((a, b) => b[0] - a[0]).slice(0, 3);
  const peaks = best.map(([value, at]) => {
    const from = curve.windows[at][0];
    const name = `Play ${curve.phrase} at ${clock(from)}, ${percent(Math.max(0, value))}`;
    return el("button", { type: "button", class: "small", "aria-label": name, onclick: () => seek(from) }, `${clock(from)} · ${percent(Math.max(0, value))}`);
  });
  return el("li", {}, sample, el("span", {}, curve.phrase), ...peaks);
}
