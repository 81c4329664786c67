// What is done with the selection: each thing names the moments first.

import { $, busy, clock, download, el, get, plural, post, showProblem, thumbnail } from "./api.js";
import { collect, labelsInUse } from "./collected.js";
import { dialog, field } from "./dialog.js";
import { abilities, clear, keyOf, picked, recordings, show as showSelection } from "./selection.js";

const MOST_SHOWN = 60;

export const show = () => ask(() => `${picked.size} selected`, [], []);

// Every chosen moment with its picture, and a way to drop it before anything is done with it.
function list(refresh) {
  const rows = [...picked.values()].slice(0, MOST_SHOWN).map((hit) => {
    const span = hit.whole ? "" : `${clock(hit.start_s)} to ${clock(hit.end_s)}`;
    const row = el("li", {}, el("img", { src: thumbnail(hit.video, hit.picture_s ?? (hit.start_s + hit.end_s) / 2, 160), alt: "", loading: "lazy" }),
      el("bdi", {}, hit.name), el("span", { class: "quiet" }, span),
      el("button", { type: "button", class: "small", "aria-label": `Drop ${hit.name} ${span}`, onclick: () => {
        picked.delete(keyOf(hit));
        row.remove();
        showSelection();
        refresh();
      } }, "Drop"));
    return row;
  });
  const more = picked.size - rows.length;
  return el("ul", { class: "picked-list", tabindex: 0, "aria-label": "What is selected" }, ...rows, more > 0 ? el("li", { class: "quiet" }, `and ${more} more`) : null);
}

// A dialog about what is selected.
function ask(title, body, buttons) {
  const refresh = dialog(title(), [...body, list(() => refresh(title(), picked.size === 0))], buttons);
}

export async function tag() {
  const keys = recordings().flatMap((hit) => Object.keys(hit.tags ?? {}));
  const known = await get("api/facets").catch(() => ({ facets: [] }));
  const facets = known.facets.filter((each) => each.values[0]?.where.length === 1);
  const key = field("tag-key", "Tag", { required: true, maxlength: 100, placeholder: "such as place" }, [...new Set([...keys, ...facets.map((each) => each.name)])]);
  const value = field("tag-value", "Value", { maxlength: 1000 });
  key.input.addEventListener("input", () => {
    const values = facets.find((each) => each.name === key.input.value.trim())?.values ?? [];
    value.list.replaceChildren(...values.map(({ text }) => el("option", { value: text })));
  });
  const send = async (text) => {
    const name = key.input.value.trim(), all = recordings();
    if (!name || text === "") throw new Error("Write a tag and its value.");
    const changes = all.map((hit) => ({ video: hit.video, tags: { [name]: text }, before: hit.tags ? { [name]: hit.tags[name] ?? null } : {} }));
    try {
      await post("api/tags", { changes });
    } catch (problem) {
      if (problem.status === 409) abilities.changed("tags"); // somebody else changed it: show what it is now
      throw problem;
    }
    for (const hit of picked.values()) {
      hit.tags = { ...hit.tags, [name]: text };
      if (text === null) delete hit.tags[name];
    }
    $("said").textContent = `${all.length} tagged`;
    abilities.changed("tags");
  };
  ask(() => `Tag ${plural(recordings().length, "recording")}`, [key.row, value.row],
    [["Set", () => send(value.input.value.trim())], ["Remove this tag", () => send(null)]]);
}

export function remove() {
  ask(() => `Remove ${plural(recordings().length, "recording")} from the library?`, [el("p", {}, "The files stay where they are. For 30 days the bin, under Library, has the recordings with their tags and labels.")],
    [["Remove", async () => {
      let done;
      try {
        done = await post("api/remove", { videos: recordings().map((hit) => hit.video) });
      } catch (problem) {
        if (problem.status === 404) abilities.changed("removed"); // one is gone already: show what is there
        throw problem;
      }
      clear();
      offerUndo(done);
      abilities.changed("removed");
    }]]);
}

function offerUndo({ removed, bin }) {
  const line = $("undo-line"), undo = el("button", { type: "button", class: "small", onclick: () => busy(undo, async () => {
    try {
      const { restored } = await post("api/restore", { bin });
      line.textContent = `${plural(restored, "recording")} came back.`;
    } catch (problem) {
      showProblem(line, problem);
    }
    abilities.changed("restored");
  }) }, "Undo");
  line.replaceChildren(`${plural(removed, "recording")} removed. `, undo);
  line.hidden = false;
}

export function example() {
  const label = field("many-label", "What they show", { required: true, maxlength: 200 }, labelsInUse());
  ask(() => `${plural(picked.size, "example")} of one label`, [label.row], [["Use as examples", () => {
    if (!label.input.value.trim()) throw new Error("Write what they show.");
    setTimeout(() => collect([...picked.values()], label.input.value, clear)); // after this dialog
  }]]);
}

const WORDS = { csv: "Table (CSV)", otio: "Timeline (OTIO)", clips: "Cut clips (ZIP)" };

function exportAll() {
  const spans = () => [...picked.values()].map(({ video, start_s, end_s }) => ({ video, start_s, end_s }));
  ask(() => `Export ${plural(picked.size, "moment")}`, [], abilities.exports.map(({ name, ending }) =>
    [WORDS[name] ?? name, () => download(`api/export/${name}`, { spans: spans(), title: document.title }, `vlar.${ending}`)]));
}

export { exportAll as export };
