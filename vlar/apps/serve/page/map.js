// A map of the library: one point a window, by what it shows. A lasso, or a value of a tag, selects; the wheel zooms.

import { $, el, thumbnail } from "./api.js";
import { pickMany } from "./selection.js";

const COLOURS = 4, MOST_SHOWN = 48, NEAR_PX = 12, MOST_ZOOM = 64;
let view = { zoom: 1, x: 0, y: 0 }; // the middle, -1 to 1
let data = null, hooks = {}, canvas = null, key = "", lasso = null, chosen = new Set(), peek = null;

export function show(found, given) {
  hooks = given;
  data = found.points ? found : { points: [], videos: [] };
  view = { zoom: 1, x: 0, y: 0 };
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
  $("map").replaceChildren(el("div", { class: "map-tools" }, el("label", { for: "map-by" }, "Colour by"), by, el("div", { id: "map-groups", class: "chips" }),
    ...[["+", "Zoom in", 2], ["−", "Zoom out", 0.5]].map(([text, label, by]) => el("button", { type: "button", class: "small", "aria-label": label, onclick: () => zoom(by, [canvas.clientWidth / 2, canvas.clientHeight / 2]) }, text))),
    el("div", { class: "map-frame" }, canvas, peek), axes());
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(2 ** (-event.deltaY / 200), at(event));
  }, { passive: false });
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
const SIDE = 0.94; // of the picture that the points take
const onScreen = (x, y) => [(0.5 + SIDE * view.zoom * (x - view.x) / 2) * canvas.clientWidth, (0.5 - SIDE * view.zoom * (y - view.y) / 2) * canvas.clientHeight];
const place = ([, , , x, y]) => onScreen(x, y);

// What is under the pointer stays there.
function zoom(by, [px, py]) {
  const next = Math.min(MOST_ZOOM, Math.max(1, view.zoom * by));
  const [dx, dy] = [2 * (px / canvas.clientWidth - 0.5) / SIDE, 2 * (0.5 - py / canvas.clientHeight) / SIDE];
  const inside = (value) => Math.min(1 - 1 / next, Math.max(1 / next - 1, value));
  view = { zoom: next, x: inside(view.x + dx / view.zoom - dx / next), y: inside(view.y + dy / view.zoom - dy / next) };
  peek.hidden = true;
  paint();
}

// The axes are the two directions in which the windows differ most.
function axes() {
  if (!data.axes) return null;
  const [[left, right], [bottom, top]] = data.axes;
  return el("p", { class: "quiet" }, `Near points show similar things. Left is more like “${left}”, right “${right}”; below “${bottom}”, above “${top}”. The wheel zooms.`);
}

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
  pen.globalAlpha = 1;
  pen.font = "600 13px system-ui, sans-serif";
  pen.textAlign = "center";
  for (const [x, y, words] of data.marks ?? []) {
    const [px, py] = onScreen(x, y), half = pen.measureText(words).width / 2 + 4;
    if (px < 0 || px > canvas.clientWidth || py < 0 || py > canvas.clientHeight) continue;
    const middle = Math.min(canvas.clientWidth - half, Math.max(half, px));
    pen.strokeStyle = style.getPropertyValue("--ground");
    pen.lineWidth = 4;
    pen.strokeText(words, middle, Math.max(14, py - 8));
    pen.fillStyle = style.getPropertyValue("--text");
    pen.fillText(words, middle, Math.max(14, py - 8));
  }
  if (!lasso) return;
  pen.lineWidth = 1;
  pen.strokeStyle = style.getPropertyValue("--text");
  pen.setLineDash([5, 4]);
  pen.beginPath();
  lasso.forEach(([x, y], n) => (n ? pen.lineTo(x, y) : pen.moveTo(x, y)));
  pen.stroke();
}
