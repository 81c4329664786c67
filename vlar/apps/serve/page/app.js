// The page as a whole: its sections, its theme, the token, and the state of the server.

import { $, get, onToken, post, showProblem } from "./api.js";
import * as classify from "./classify.js";
import * as examples from "./examples.js";
import * as library from "./library.js";
import { close } from "./player.js";
import * as search from "./search.js";

const THEMES = ["system", "light", "dark"];
const views = [...document.querySelectorAll("nav [data-view]")];

function show(name, { focus = true } = {}) {
  for (const button of views) {
    const is = button.dataset.view === name;
    if (is) button.setAttribute("aria-current", "page");
    else button.removeAttribute("aria-current");
    $(`view-${button.dataset.view}`).hidden = !is;
  }
  if (!$("player").hidden) close();
  if (location.hash.slice(1) !== name) history.replaceState(null, "", `#${name}`);
  if (name === "library") library.open();
  if (focus) $("main").focus({ preventScroll: true });
}
for (const button of views) button.addEventListener("click", () => show(button.dataset.view, { focus: false }));

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
        await post("/api/session", { token: $("token").value });
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
  const found = await get("/api/library");
  document.title = `${found.name} - vlar`;
  $("library-name").textContent = found.name;
  const { videos, rows } = found.library;
  $("library-line").textContent = `${videos} recordings, ${rows} windows${found.ready ? "" : " · the model is loading"}`;
  search.showKeys(found.library.tag_keys);
  classify.showModels(found.models, chosenModel);
  library.showFacts(found);
  if (!found.ready) setTimeout(() => refresh().catch(() => {}), 1500);
}

search.setUp();
classify.setUp();
examples.setUp((name) => refresh(name));
library.setUp(() => refresh().catch(() => {}));
show(views.map((button) => button.dataset.view).find((name) => location.hash === `#${name}`) ?? "search", { focus: false });
refresh().catch((problem) => showProblem($("problem"), problem));
