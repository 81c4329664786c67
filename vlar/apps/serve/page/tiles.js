// A moment as a tile: its picture, which follows the mouse, its line, and what can be done with it.

import { clock, el, isolated, percent, svg, thumbnail } from "./api.js";
import { isPicked, pick } from "./selection.js";

const EAGER = 24, STEPS = 8, MOST_CROPS = 3;

// The moment that matched: the middle of the best window, of the first part, or of the span.
export function pictureAt(hit) {
  return hit.picture_s ?? hit.box_s ?? (hit.start_s + hit.end_s) / 2;
}

export function picture(hit, { at = 0, label, onclick, width = 320 }) {
  const image = el("img", { src: thumbnail(hit.video, pictureAt(hit), width), alt: "", loading: at < EAGER ? "eager" : "lazy", decoding: "async" });
  const made = el("button", { type: "button", class: "picture loading", "aria-label": label, onclick }, image);
  image.addEventListener("load", () => made.classList.remove("loading"), { once: true });
  image.addEventListener("error", () => {
    made.classList.remove("loading");
    made.classList.add("none"); // moved, removed, or not readable
    image.remove();
  }, { once: true });
  if (hit.box) image.addEventListener("load", () => image.after(frameOf(hit.box, image)), { once: true });
  scrub(made, image, hit, width);
  return made;
}

// The picture under the mouse: left is the start, right is the end.
function scrub(place, image, hit, width) {
  const mark = el("span", { class: "mark" });
  let wanted = -1;
  place.append(mark);
  place.addEventListener("pointermove", (event) => {
    if (event.pointerType !== "mouse" || !image.isConnected) return;
    const box = place.getBoundingClientRect();
    const step = Math.min(STEPS - 1, Math.max(0, Math.floor(((event.clientX - box.left) / box.width) * STEPS)));
    mark.style.width = `${(100 * (step + 0.5)) / STEPS}%`;
    if (step === wanted) return;
    wanted = step;
    const next = new Image();
    next.src = thumbnail(hit.video, hit.start_s + ((step + 0.5) / STEPS) * (hit.end_s - hit.start_s), width);
    next.decode().then(() => { if (wanted === step) image.src = next.src; }, () => {});
  });
  place.addEventListener("pointerleave", () => {
    if (wanted < 0) return;
    wanted = -1;
    image.src = thumbnail(hit.video, pictureAt(hit), width);
  });
}

// The box of a person over a picture that fills its frame, as "object-fit: cover" cuts it.
export function frameOf(box, image, shape = "slice") {
  const width = image.naturalWidth || image.videoWidth, height = image.naturalHeight || image.videoHeight;
  const [left, top, right, bottom] = box.map((share, side) => share * (side % 2 ? height : width));
  return svg("svg", { class: "whom", viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: `xMidYMid ${shape}`, "aria-hidden": "true" },
    svg("rect", { x: left, y: top, width: right - left, height: bottom - top }));
}

// hooks: { play(hit, row), like(hit), text }
export function tile(hit, at, hooks) {
  const span = `${clock(hit.start_s)} to ${clock(hit.end_s)}`;
  const open = () => hooks.play(hit, row);
  const shown = picture(hit, { at, label: hit.whole ? `Play ${hit.name}, ${clock(hit.duration_s)}` : `Play ${hit.name} from ${clock(hit.start_s)}`, onclick: open });
  shown.append(el("span", { class: "time" }, hit.whole ? clock(hit.duration_s) : clock(hit.start_s)));
  const box = el("input", { type: "checkbox", "aria-label": `Select ${hit.name}, ${span}` });
  box.checked = isPicked(hit);
  box.addEventListener("click", (event) => pick(hit, box.checked, event.shiftKey));
  const row = el("li", { class: "hit" }, shown, el("label", { class: "pick" }, box),
    el("div", { class: "hit-body" }, el("p", { class: "hit-title", title: hit.path }, el("bdi", {}, hit.name)), score(hit), ...crops(hit, hooks.text), ...lines(hit, span)),
    el("div", { class: "actions" },
      el("button", { type: "button", class: "small", onclick: open }, "Play"),
      ...(hooks.like ? [el("button", { type: "button", class: "small", "aria-label": `More like this: ${hit.name}`, onclick: () => hooks.like(hit) }, "Like this")] : []),
      example(hit, hooks.text)));
  row.moment = hit;
  if (hooks.judge && hit.row && !hit.parts) judging(row, hit, hooks.judge);
  return row;
}

// "Yes" and "No" of a hit, also by the keys y and n where the tile has the focus.
function judging(row, hit, judge) {
  const button = (shows) => el("button", { type: "button", class: "small", "aria-label": `${shows ? "Yes, this is it" : "No, this is not it"}: ${hit.name}`, onclick: () => judge(hit, shows) }, shows ? "Yes" : "No");
  row.querySelector(".actions").append(button(true), button(false));
  row.addEventListener("keydown", ({ key, ctrlKey, metaKey, altKey }) => {
    if ((key === "y" || key === "n") && !ctrlKey && !metaKey && !altKey) judge(hit, key === "y");
  });
}

export function example(hit, text) {
  const button = el("button", { type: "button", class: "small", "aria-label": `Use as example: ${hit.name}`, onclick: async () => {
    const { collect } = await import("./collected.js");
    collect([{ ...hit, label: undefined }], text, (count) => {
      button.textContent = `Added ✓ ${count}`;
      setTimeout(() => { button.textContent = "Example"; }, 2500);
    });
  } }, "Example");
  return button;
}

export const phraseOf = ({ phrase }) => (phrase.startsWith("LIKE ") ? "the example" : phrase);

function score(hit) {
  if (hit.parts || hit.probability == null) return null;
  if (hit.weak) return el("p", { class: "hit-line weak" }, "weak match"); // its figure would mislead
  return el("div", { class: "score" }, el("meter", { min: 0, max: 1, value: hit.probability, "aria-label": "Probability" }), el("b", {}, percent(hit.probability)));
}

// Words on screen that a caption quotes: when, where in per cent of the frame, and what they say.
const ON_SCREEN = /shows \((?:[\w-]{1,20}, )?([\d.]+)-([\d.]+) s @(\d+,\d+,\d+,\d+)\): "([^"]+)"/g;
const wordsOf = (text) => new Set(text.toLowerCase().match(/[\p{L}\p{N}]{2,}/gu));

// Frames are read about once a second: half a second after its span begins, a line is there.
export const crop = (video, { start_s, end_s, box, text }) => el("img", { class: "crop", loading: "lazy", alt: `On screen: ${text}`, title: text,
  src: thumbnail(video, Math.min(start_s + 0.5, (start_s + end_s) / 2), 320, box) });

// What is on screen of the words that were asked for, as it looks there.
function crops(hit, asked) {
  const words = wordsOf(asked ?? "");
  const lines = [...(hit.caption ?? "").matchAll(ON_SCREEN)].map(([, from, to, box, text]) => ({ start_s: Number(from), end_s: Number(to), box, text }));
  return lines.filter(({ text }) => [...wordsOf(text)].some((word) => words.has(word))).slice(0, MOST_CROPS).map((line) => crop(hit.video, line));
}

function lines(hit, span) {
  const tags = Object.entries(hit.tags ?? {}).map(([key, value]) => `${key}=${value}`).join(" · ");
  const also = hit.also?.length ? `The same in ${hit.also.map((copy) => isolated(copy.path.split("/").pop())).join(", ")}` : "";
  const near = hit.nearest ? `nearest: ${isolated(hit.nearest.split("/").pop())}` : "";
  const whole = hit.whole ? `${hit.windows} ${hit.windows === 1 ? "window" : "windows"}` : span;
  const said = [whole, hit.track ? `person ${hit.track}` : "", hit.note ?? ""].filter(Boolean).join(" · ");
  const texts = [said, tags, near, also, hit.caption?.replace(/(?<= s) @[\d,]+(?=\): )/g, ""), ...(hit.parts ?? []).map((part) => `${phraseOf(part)}: ${part.weak ? "weak" : percent(part.probability)} at ${clock(part.start_s)}`)];
  return texts.filter(Boolean).map((text) => el("p", { class: "hit-line" }, text));
}
