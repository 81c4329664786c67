// A map of the library: one point a window, by what it shows. A lasso, or a value of a tag, selects.

import { $, el, thumbnail } from "./api.js";
import { pickMany } from "./selection.js";

const COLOURS = 4, MOST_SHOWN = 48, NEAR_PX = 12;
let data = null, hooks = {}, canvas = null, key = "", lasso = null, chosen = new Set(), peek = null;

export function show(found, given) {
  hooks = given;
  data = found.points ? found : { points: [], videos: [] };
  chosen = new Set();
  const keys = [...new Set(data.videos.flatMap((each) => Object.keys(each.tags)))];
  if (!keys.includes(key)) key = keys[0] ?? "";
  canvas = el("canvas", { role: "img", "aria-label": `${data.points.length} windows as points; near points show similar things` });
  peek = el("img", { class: "peek", alt: "", hidden: true });
  const by = el("select", { id: "map-by" }, el("option", { value: "" }, "nothing"), ...keys.map((each) => el("option", { value: each }, each)));
  by.value = key;
  by.addEventListener("change", () => {
    key = by.value;
    groups();
    paint();
  });
  $("map").replaceChildren(el("div", { class: "map-tools" }, el("label", { for: "map-by" }, "Colour by"), by, el("div", { id: "map-groups", class: "chips" })), el("div", { class: "map-frame" }, canvas, peek));
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    lasso = [at(event)];
    peek.hidden = true;
  });
  canvas.addEventListener("pointermove", move);
  canvas.addEventListener("pointerup", end);
  canvas.addEventListener("pointercancel", () => { lasso = null; paint(); });
  canvas.addEventListener("pointerleave", () => { peek.hidden = true; });
  new ResizeObserver(paint).observe(canvas);
  groups();
  paint();
}

const valueOf = (point) => data.videos[point[0]].tags[key] ?? "";

function values() {
  const counts = new Map();
  for (const point of data.points) counts.set(valueOf(point), (counts.get(valueOf(point)) ?? 0) + 1);
  counts.delete("");
  return [...counts].sort((a, b) => b[1] - a[1]).slice(0, 8);
}

// Each value is a button that selects its windows: the map without a mouse.
function groups() {
  document.getElementById("map-groups").replaceChildren(...(key ? values() : []).map(([value, count], n) =>
    el("button", { type: "button", class: `small chip dot dot-${n < COLOURS ? n + 1 : 0}`, onclick: () => select((point) => valueOf(point) === value) }, `${value} · ${count}`)));
}

const at = (event) => {
  const box = canvas.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
};
const place = ([, , , x, y]) => [(0.03 + 0.94 * (x + 1) / 2) * canvas.clientWidth, (0.03 + 0.94 * (1 - y) / 2) * canvas.clientHeight];

function move(event) {
  if (lasso) {
    lasso.push(at(event));
    return paint();
  }
  const [x, y] = at(event);
  let best = null, least = NEAR_PX ** 2;
  for (const point of data.points) {
    const [px, py] = place(point), far = (px - x) ** 2 + (py - y) ** 2;
    if (far < least) [best, least] = [point, far];
  }
  peek.hidden = !best;
  if (!best) return;
  const [px, py] = place(best), { video } = data.videos[best[0]];
  const source = thumbnail(video, (best[1] + best[2]) / 2, 160);
  if (!peek.src.endsWith(source)) peek.src = source;
  peek.style.left = `${Math.min(px + 12, canvas.clientWidth - 165)}px`;
  peek.style.top = `${Math.max(0, Math.min(py + 12, canvas.clientHeight - 125))}px`;
}

function end() {
  const line = lasso ?? [];
  lasso = null;
  if (line.length > 3) select((point) => inside(place(point), line));
  else paint();
}

// Even-odd rule.
export function inside([x, y], line) {
  let is = false;
  for (let i = 0, j = line.length - 1; i < line.length; j = i++) {
    const [xi, yi] = line[i], [xj, yj] = line[j];
    if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) is = !is;
  }
  return is;
}

function select(test) {
  const found = data.points.filter(test);
  chosen = new Set(found);
  const hits = found.map(([video, start_s, end_s]) => ({ ...data.videos[video], start_s, end_s }));
  pickMany(hits);
  hooks.onSelect(hits.slice(0, MOST_SHOWN), hits.length);
  paint();
}

function paint() {
  if (!canvas?.isConnected || !canvas.clientWidth) return;
  const ratio = devicePixelRatio || 1, style = getComputedStyle(document.documentElement);
  const colour = (n) => style.getPropertyValue(n < 0 ? "--line" : `--curve-${n + 1}`).trim();
  const order = new Map((key ? values() : []).map(([value], n) => [value, n < COLOURS ? n : -1]));
  [canvas.width, canvas.height] = [canvas.clientWidth * ratio, canvas.clientHeight * ratio];
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  for (const point of data.points) {
    const [x, y] = place(point), is = chosen.has(point);
    pen.globalAlpha = is || !chosen.size ? 0.8 : 0.25;
    pen.fillStyle = key ? colour(order.get(valueOf(point)) ?? -1) : colour(0);
    pen.beginPath();
    pen.arc(x, y, is ? 4.5 : 3, 0, 7);
    pen.fill();
  }
  if (!lasso) return;
  pen.globalAlpha = 1;
  pen.strokeStyle = style.getPropertyValue("--text");
  pen.setLineDash([5, 4]);
  pen.beginPath();
  lasso.forEach(([x, y], n) => (n ? pen.lineTo(x, y) : pen.moveTo(x, y)));
  pen.stroke();
}
