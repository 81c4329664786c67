// The library: facts, uploads into it, recordings of the server's disk, jobs.

import { $, busy, clock, dropPlace, el, get, isolated, post, showProblem, upload } from "./api.js";
import { watch } from "./jobs.js";

let files = [], changed = () => {};

export function setUp(given) {
  ({ changed } = given);
  dropPlace($("add-drop"), $("add-files"), (found) => {
    files = found;
    $("add-line").textContent = files.map((file) => isolated(file.name)).join(", ");
  });
  $("add-form").addEventListener("submit", (event) => {
    event.preventDefault();
    busy($("add-form").querySelector("button.main"), add);
  });
}

export function open() {
  bin();
  watch(changed);
}

async function bin() {
  const { days, removals } = await get("api/bin").catch(() => ({ removals: [] }));
  $("bin").hidden = !removals.length;
  $("bin-line").textContent = `What was removed on this page comes back with its tags and labels, for ${days} days.`;
  $("bin-list").replaceChildren(...removals.map((each) => {
    const more = each.recordings - each.names.length;
    const restore = el("button", { type: "button", class: "small", onclick: () => busy(restore, async () => {
      try {
        await post("api/restore", { bin: each.bin });
        changed();
        await bin();
      } catch (problem) {
        showProblem($("add-problem"), problem);
      }
    }) }, "Restore");
    return el("li", { class: "job" }, el("div", { class: "job-head" }, el("strong", {}, each.names.map(isolated).join(", ") + (more > 0 ? ` and ${more} more` : "")), restore),
      el("p", { class: "hit-line" }, `removed ${new Date(each.removed_s * 1000).toLocaleString()}`));
  }));
}

export function showLibrary(found) {
  const { library, roots } = found;
  const facts = [
    ["Recordings", library.videos], ["Windows", library.rows], ["Length", clock(library.duration_s)], ["Model", library.model ?? "lite"],
    ["Window", library.window_s ? `${library.window_s} s, every ${library.stride_s} s` : "-"], ["Search", library.engine], ["Folder", library.path],
  ];
  $("facts").replaceChildren(...facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, String(value)))));
  $("roots").textContent = roots.join(", ");
  $("read-only").hidden = found.writable;
  for (const each of $("add-form").querySelectorAll("input, textarea, button")) each.disabled = !found.writable;
}

async function add() {
  showProblem($("add-problem"), null);
  const paths = $("paths").value.split("\n").map((path) => path.trim()).filter(Boolean);
  const pairs = $("tags").value.split(/[,\s]+/).filter(Boolean).map((pair) => [pair.split("=")[0], pair.split("=").slice(1).join("=")]);
  if (!paths.length && !files.length) return showProblem($("add-problem"), { message: "Choose files, or write a path." });
  try {
    const uploads = [];
    $("add-progress").hidden = !files.length;
    for (const [at, file] of files.entries()) {
      const sent = await upload(file, (share) => { $("add-progress").value = (at + share) / files.length; });
      uploads.push(sent.id);
    }
    await post("api/jobs", { paths, uploads, tags: Object.fromEntries(pairs) });
    files = [];
    $("add-files").value = $("add-line").textContent = "";
    watch(changed);
  } catch (problem) {
    showProblem($("add-problem"), problem);
  } finally {
    $("add-progress").hidden = true;
  }
}
