// Curves over time with axes: scores in the player, answers over time. A click seeks.

import { clock, el, percent, svg } from "./api.js";

const COLOURS = 4, LEFT = 44, RIGHT = 8, TOP = 8, BOTTOM = 112, HEIGHT = 132;
const STEPS = [0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600];
const LEAST = 0.2; // below it a moment is weak (vlar.types.WEAK_MATCH)

// place: an element. curves: [{ name, windows: [[start, end]], values, share }], share: a probability.
export function draw(place, { end_s, curves, span, seek, unit = true }) {
  const width = Math.max(280, place.clientWidth); // one unit is one pixel: text keeps its size
  const x = (seconds) => LEFT + (width - LEFT - RIGHT) * Math.min(1, Math.max(0, seconds / end_s));
  const y = (value) => BOTTOM - (BOTTOM - TOP) * Math.max(0, Math.min(1, value));
  const picture = svg("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": `Scores over ${clock(end_s)}; the moments are listed below` });
  if (span) picture.append(svg("rect", { class: "span", x: x(span[0]), y: TOP, width: Math.max(2, x(span[1]) - x(span[0])), height: BOTTOM - TOP }));
  for (const value of [0, 0.5, 1]) {
    picture.append(svg("line", { class: "axis", x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value), "stroke-opacity": value ? 0.35 : 1 }));
    picture.append(text(LEFT - 6, y(value) + 4, unit ? percent(value) : String(value), "end"));
  }
  const step = STEPS.find((each) => end_s / each <= width / 90) ?? 7200;
  for (let at = 0; at <= end_s; at += step) {
    picture.append(svg("line", { class: "axis", x1: x(at), x2: x(at), y1: BOTTOM, y2: BOTTOM + 4 }));
    const anchor = at === 0 ? "start" : x(at) > width - 40 ? "end" : "middle";
    picture.append(text(x(at), HEIGHT - 4, clock(at).replace(/\.0$/, ""), anchor));
  }
  curves.forEach(({ windows, values }, at) => {
    if (!windows.length) return;
    const points = windows.map(([from, to], n) => `${x((from + to) / 2)},${y(values[n])}`);
    const ends = [`${x(windows[0][0])},${y(values[0])}`, ...points, `${x(windows.at(-1)[1])},${y(values.at(-1))}`];
    picture.append(svg("polyline", { class: colour(at), points: ends.join(" ") }));
  });
  const head = svg("line", { class: "head", x1: x(span?.[0] ?? 0), x2: x(span?.[0] ?? 0), y1: TOP - 4, y2: BOTTOM + 4 });
  picture.append(head);
  picture.addEventListener("click", (event) => {
    const box = picture.getBoundingClientRect();
    const share = ((event.clientX - box.left) * (width / box.width) - LEFT) / (width - LEFT - RIGHT);
    seek(Math.max(0, Math.min(1, share)) * end_s);
  });
  place.replaceChildren(picture);
  return { head: (seconds) => { for (const end of ["x1", "x2"]) head.setAttribute(end, x(seconds)); } };
}

const colour = (at) => `curve curve-${(at % COLOURS) + 1}`;

export function sample(at) {
  return svg("svg", { viewBox: "0 0 32 10", "aria-hidden": "true" }, svg("line", { class: colour(at), x1: 0, x2: 32, y1: 5, y2: 5 }));
}

// One line a curve: its name, and one button a moment. Moments do not overlap.
export function legend(curves, seek) {
  return el("ul", { class: "legend" }, ...curves.map(({ name, windows, values, share }, at) => {
    const found = moments(windows, values, share ? LEAST : -1);
    const chips = found.map((n) => {
      const from = windows[n][0], value = share ? percent(Math.max(0, values[n])) : "";
      const weak = share && values[n] < LEAST ? "weak" : value;
      return el("button", { type: "button", class: "small chip", "aria-label": `Play ${name} at ${clock(from)}, ${weak}`, onclick: () => seek(from) }, [clock(from), weak].filter(Boolean).join(" · "));
    });
    return el("li", {}, sample(at), el("span", {}, name), ...chips);
  }));
}

// Places of the best windows, apart from each other, by time; at least the best one.
export function moments(windows, values, least, most = 4) {
  const chosen = [];
  for (const n of values.map((_, at) => at).sort((a, b) => values[b] - values[a])) {
    if (chosen.length === most || (chosen.length && values[n] < least)) break;
    const apart = chosen.every((m) => windows[n][0] >= windows[m][1] + 1 || windows[n][1] + 1 <= windows[m][0]);
    const isPeak = values[n] >= (values[n - 1] ?? -2) && values[n] >= (values[n + 1] ?? -2);
    if (apart && isPeak) chosen.push(n);
  }
  return chosen.sort((a, b) => windows[a][0] - windows[b][0]);
}

function text(x, y, words, anchor) {
  const made = svg("text", { x, y, "text-anchor": anchor });
  made.textContent = words;
  return made;
}
