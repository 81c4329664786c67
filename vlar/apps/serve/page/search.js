// Searching: the query, its filters, its answers.

import { $, busy, clock, el, percent, post, showProblem, svg, thumbnail } from "./api.js";
import { addExample } from "./examples.js";
import { play } from "./player.js";

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
let filters = [], asked = 0;

export function setUp() {
  $("help-rows").replaceChildren(...HELP.map(([text, meaning]) =>
    el("tr", {}, el("td", {}, el("button", { type: "button", onclick: () => useText(text) }, text)), el("td", {}, meaning))));
  $("search-form").addEventListener("submit", (event) => {
    event.preventDefault();
    search();
  });
  $("least").addEventListener("input", () => { $("least-shown").textContent = percent(Number($("least").value)); });
  $("add-filter").addEventListener("click", addFilter);
  $("filter").addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    addFilter();
  });
}

export function showKeys(tagKeys) {
  const keys = [...tagKeys.map((key) => `${key}=`), "path=", "start_s>=", "end_s<=", "duration_s<", "added>=", "modified>="];
  $("filter-keys").replaceChildren(...keys.map((key) => el("option", { value: key })));
}

export function useText(text) {
  $("text").value = text;
  $("text").focus();
}

function addFilter() {
  const text = $("filter").value.trim();
  if (!text) return;
  if (!filters.includes(text)) filters.push(text);
  $("filter").value = "";
  showFilters();
  if ($("text").value.trim()) search();
}

function showFilters() {
  $("filter-list").replaceChildren(...filters.map((text) =>
    el("li", {}, el("button", { type: "button", class: "small", "aria-label": `Remove the filter ${text}`, onclick: () => {
      filters = filters.filter((each) => each !== text);
      showFilters();
      if ($("text").value.trim()) search();
    } }, `${text} ✕`))));
  $("filter-count").textContent = filters.length;
  $("filter-count").hidden = !filters.length;
}

async function search(least = Number($("least").value)) {
  const text = $("text").value.trim(), mine = ++asked;
  if (!text) return;
  $("search-status").textContent = "Searching …";
  showProblem($("text-problem"), null);
  await busy($("search-form").querySelector("button.main"), async () => {
    try {
      const found = await post("/api/query", { text, k: Number($("k").value), where: filters, min_probability: least });
      if (mine === asked) showHits(found, text, least);
    } catch (problem) {
      $("hits").replaceChildren();
      $("search-status").textContent = "";
      showProblem($("text-problem"), problem);
      if (typeof problem.body?.position === "number") {
        $("text").focus();
        $("text").setSelectionRange(problem.body.position, problem.body.position + 1);
      }
    }
  });
}

function showHits(found, text, least) {
  const n = found.hits.length;
  $("hits").replaceChildren(...found.hits.map((hit) => card(hit, text)));
  if (n) {
    const searched = `${found.windows} windows of ${found.videos} recordings searched`;
    $("search-status").textContent = `${n} ${n === 1 ? "moment" : "moments"}. ${found.note ?? ""} ${searched}.`;
    return;
  }
  $("search-status").textContent = "";
  const all = el("button", { type: "button", onclick: () => search(0) }, "Show the nearest anyway");
  const box = el("li", { class: "empty", role: "status" }, el("p", {}, el("strong", {}, found.note ?? "No match.")), least > 0 && found.windows ? all : null);
  $("hits").append(box);
}

function card(hit, text) {
  const open = () => play(hit, { text, place: $("search-player"), from: row });
  const times = `${clock(hit.start_s)} to ${clock(hit.end_s)}`;
  const whom = hit.track ? `person ${hit.track}` : "";
  const image = el("img", { src: thumbnail(hit.video, hit.box_s ?? (hit.start_s + hit.end_s) / 2), alt: "", loading: "lazy" });
  if (hit.box) image.addEventListener("load", () => image.after(frameOf(hit.box, image)), { once: true });
  const picture = el("button", { type: "button", class: "picture", "aria-label": `Play ${hit.name} from ${clock(hit.start_s)}`, onclick: open },
    image, el("span", { class: "time" }, clock(hit.start_s)));
  const tags = Object.entries(hit.tags).map(([key, value]) => `${key}=${value}`).join(" · ");
  const also = hit.also?.length ? `The same in ${hit.also.map((copy) => copy.path.split("/").pop()).join(", ")}` : "";
  const body = el("div", { class: "hit-body" },
    el("p", { class: "hit-title" }, hit.name),
    ...(hit.parts ? [] : [el("div", { class: "score" }, el("meter", { min: 0, max: 1, value: hit.probability, "aria-label": "Probability" }), el("b", {}, percent(hit.probability)))]),
    el("p", { class: "hit-line" }, [times, whom, tags, also].filter(Boolean).join(" · ")),
    ...(hit.caption ? [el("p", { class: "hit-line" }, hit.caption)] : []),
    ...(hit.parts ?? []).map((part) => el("p", { class: "hit-line" }, `${part.phrase}: ${percent(part.probability)} at ${clock(part.start_s)}`)),
    el("div", { class: "actions" },
      el("button", { type: "button", class: "small", onclick: open }, "Play"),
      el("button", { type: "button", class: "small", onclick: () => likeThis(hit) }, "More like this"),
      el("button", { type: "button", class: "small", onclick: () => addExample(hit, text) }, "Use as example")));
  const row = el("li", { class: "hit" }, picture, body);
  return row;
}

// The box of a person over a picture that is shown whole, whatever its shape.
function frameOf(box, image) {
  const [width, height] = [image.naturalWidth, image.naturalHeight];
  const [left, top, right, bottom] = box.map((share, side) => share * (side % 2 ? height : width));
  return svg("svg", { class: "whom", viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" },
    svg("rect", { x: left, y: top, width: right - left, height: bottom - top }));
}

function likeThis(hit) {
  useText(`LIKE "video:${hit.video}"@${hit.start_s}s-${hit.end_s}s`);
  search();
}
