// The page as a whole: its sections, its theme, the token, and the state of the server.

import { $, get, onToken, plural, post, showProblem } from "./api.js";
import * as address from "./address.js";
import { recall } from "./collected.js";
import * as search from "./search.js";
import { close, load, play } from "./sections.js";
import * as selection from "./selection.js";

const THEMES = ["system", "light", "dark"];
const SECTIONS = {
  classify: () => import("./classify.js"), examples: () => import("./examples.js"),
  evaluate: () => import("./evaluate.js"), library: () => import("./library.js"),
};
const views = [...document.querySelectorAll("nav [data-view]")];
const last = new Map(); // the address of each section, as it was left
const opened = new Map(); // section -> its module
let turn = 0, known = null; // what the server said of the library

async function section(name) {
  const part = await load(SECTIONS[name]);
  if (!opened.has(name)) {
    opened.set(name, part);
    part.setUp({ changed, refresh, play });
    if (known) part.showLibrary?.(known);
  }
  return part;
}

async function show({ view, values }) {
  const name = views.some((button) => button.dataset.view === view) ? view : "search", mine = ++turn;
  for (const button of views) {
    if (button.dataset.view === name) button.setAttribute("aria-current", "page");
    else button.removeAttribute("aria-current");
  }
  if (!values.get("m")) close({ quiet: true });
  const part = name === "search" ? null : await section(name).catch((problem) => showProblem($("problem"), problem));
  if (mine !== turn) return;
  for (const each of document.querySelectorAll(".views > section")) each.hidden = each.id !== `view-${name}`;
  selection.show();
  if (name === "search") return search.restore(values);
  part?.open?.(values);
}
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address is that of what is shown
  const first = document.querySelector("#view-search:not([hidden]) .hit .picture");
  (first ?? $("main")).focus();
});
// A file that misses its place must not replace the page.
for (const name of ["dragover", "drop"]) addEventListener(name, (event) => event.preventDefault());
const current = () => views.find((button) => button.hasAttribute("aria-current")).dataset.view;
for (const button of views) button.addEventListener("click", () => {
  if (button.dataset.view === current()) return;
  last.set(current(), location.hash);
  close({ quiet: true });
  history.pushState(null, "", last.get(button.dataset.view) || `#${button.dataset.view}`);
  show(address.read());
});
addEventListener("popstate", () => show(address.read())); // back, forward, and links of the page

function setTheme(theme) {
  if (theme === "system") document.documentElement.removeAttribute("data-theme");
  else document.documentElement.dataset.theme = theme;
  $("theme").textContent = `Theme: ${theme}`;
  try {
    localStorage.setItem("vlar-theme", theme);
  } catch { /* private windows may keep nothing */ }
}
let theme = "system";
try {
  theme = THEMES.find((each) => each === localStorage.getItem("vlar-theme")) ?? "system";
} catch { /* as above */ }
setTheme(theme);
$("theme").addEventListener("click", () => {
  theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
  setTheme(theme);
});

let tokenGiven = null;
onToken(() => {
  tokenGiven ??= new Promise((resolve) => {
    $("token-dialog").showModal();
    $("token-form").onsubmit = async (event) => {
      event.preventDefault();
      try {
        await post("api/session", { token: $("token").value });
        $("token").value = "";
        $("token-dialog").close();
        tokenGiven = null;
        resolve();
      } catch (problem) {
        showProblem($("token-problem"), problem);
      }
    };
    $("token-dialog").oncancel = (event) => event.preventDefault();
  });
  return tokenGiven;
});

async function refresh(chosenModel) {
  const found = await get("api/library");
  document.title = `${found.name} - vlar`;
  $("library-name").textContent = found.name;
  const { videos, rows } = found.library;
  $("library-line").textContent = `${plural(videos, "recording")}, ${plural(rows, "window")}${found.ready ? "" : " · the model is loading"}${found.writable ? "" : " · read-only"}`;
  known = found;
  search.showKeys(found.library.tag_keys);
  selection.showAbilities(found);
  recall(found.library.path);
  for (const part of opened.values()) part.showLibrary?.(found, chosenModel);
  if (found.ready) search.suggest();
  else setTimeout(() => refresh().catch(() => {}), 1500);
}

function changed() {
  refresh().catch(() => {});
  search.again();
}

search.setUp(changed);
selection.setUp(changed);
const given = address.read();
const isSearch = given.view === "search"; // its pictures come before the rest
$("view-search").hidden = !isSearch;
const first = show(isSearch ? given : { ...given, values: new URLSearchParams() });
Promise.race([first, new Promise((resolve) => setTimeout(resolve, 1000))])
  .finally(() => refresh(given.values.get("model") ?? undefined))
  .then(() => { if (!isSearch) show(given); }, (problem) => showProblem($("problem"), problem));
