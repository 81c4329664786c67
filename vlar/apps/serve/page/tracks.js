// Tracks to look at next to a person's labels: a model's answers, and those of another file.

import { $, el, get, isolated, percent, post } from "./api.js";
import { dialog, field, named } from "./dialog.js";

const SURE = 0.9;

// Asks for a model and labels; gives the track [name, segments].
export async function fromModel(video, names, add) {
  const { models } = await get("api/library");
  const model = el("select", { id: "track-model" }, ...models.map((each) => el("option", { value: each.name }, each.adapted ? each.name : each.model)));
  const labels = field("track-labels", "Labels, with commas; none for those that the model learned", { maxlength: 4000, value: names.join(", ") });
  const clear = () => { labels.input.value = models.find((each) => each.name === model.value).adapted ? "" : names.join(", "); };
  model.addEventListener("change", clear);
  dialog("Answers of a model over this recording", [named("Model", model), labels.row], [["Show as a track", async () => {
    const asked = labels.input.value.split(",").map((each) => each.trim()).filter(Boolean);
    const found = await post("api/segments", { video, model: model.value, labels: asked.length ? asked : null });
    add(`model ${model.value}`, found.segments);
  }]]);
}

// Reads a file of annotations; nothing of it is kept.
export function fromFile(video, add) {
  const file = el("input", { id: "track-file", type: "file" });
  dialog("Labels of another file", [el("p", {}, "Any format of annotations that is text, up to 1 MB. It stands next to yours; take what is right."),
    named("File", file)], [["Show as a track", async () => {
    const [chosen] = file.files;
    if (!chosen) throw new Error("Choose a file.");
    const found = await post("api/labels/read", { video, name: chosen.name, text: await chosen.text() });
    if (!found.segments.length) throw new Error(`${isolated(chosen.name)} has no labels.`);
    add(chosen.name, found.segments);
  }]]);
}

// The span that a person has not labelled and a model is least sure of; those of files come in order of time.
export function doubtful(others, segments, visited) {
  const shared = (each) => segments.reduce((sum, own) => sum + Math.max(0, Math.min(own.end_s, each.end_s) - Math.max(own.start_s, each.start_s)), 0);
  const open = others.flatMap(([, spans]) => spans).filter((each) => !visited.has(each) && (each.probability ?? 0) < SURE && 2 * shared(each) < each.end_s - each.start_s);
  return open.sort((a, b) => (a.probability ?? 0) - (b.probability ?? 0) || a.start_s - b.start_s)[0] ?? null;
}

export const words = (each) => (each.probability == null ? each.label : `${each.label} ${percent(each.probability)}`);
