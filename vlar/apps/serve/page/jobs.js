// Jobs: their state, how far they are, ending and resuming them.

import { $, busy, el, get, percent, post, showProblem } from "./api.js";

const EVERY_MS = 700;
const WORDS = { queued: "waits", running: "runs", done: "done", failed: "failed", cancelled: "cancelled" };
const isOpen = (job) => job.state === "queued" || job.state === "running";
const sleep = () => new Promise((resolve) => setTimeout(resolve, EVERY_MS));

export async function follow(job, place) {
  let now = job;
  for (;;) {
    place.replaceChildren(el("div", { class: "jobs" }, card(now)));
    if (!isOpen(now)) return now;
    await sleep();
    now = await get(`api/jobs/${now.id}`);
  }
}

let watching = false;
export async function watch(onDone = () => {}) {
  if (watching) return;
  watching = true;
  try {
    for (let before = -1; ; await sleep()) {
      const { jobs } = await get("api/jobs");
      $("jobs").replaceChildren(...jobs.slice(0, 20).map((job) => card(job, onDone, "li")));
      if (!jobs.length) $("jobs").append(el("li", { class: "quiet" }, "No job yet."));
      const open = jobs.filter(isOpen).length;
      if (before > open) {
        $("job-status").textContent = `${jobs[0].title}: ${WORDS[jobs[0].state]}`;
        onDone();
      }
      before = open;
      if (!open) return;
    }
  } finally {
    watching = false;
  }
}

function card(job, onDone = () => {}, tag = "div") {
  const made = el(tag, { class: "job", "data-state": job.state });
  const actions = el("span", { class: "actions" });
  if (isOpen(job)) actions.append(button("Cancel", job, "cancel", made, onDone));
  if (job.resumable) actions.append(button("Resume", job, "resume", made, onDone));
  made.append(el("div", { class: "job-head" }, el("strong", {}, job.title), actions));
  const count = job.total ? `${job.done} of ${job.total}${isOpen(job) && job.part ? ` and ${percent(job.part)} of the next` : ""}` : "";
  made.append(el("p", { class: `hit-line state-${job.state}` }, [WORDS[job.state], count, job.failed ? `${job.failed} cannot be read` : ""].filter(Boolean).join(" · ")));
  if (isOpen(job)) made.append(el("progress", { "aria-label": `Progress of ${job.title}`, max: job.total || 1, value: job.state === "queued" ? 0 : job.total ? job.done + job.part : undefined }));
  if (job.error) made.append(el("p", { class: "hit-line state-failed" }, `${job.error.error}; ${job.error.fix}`));
  if (job.report) made.append(el("p", { class: "hit-line" }, words(job)));
  if (job.failures.length) {
    made.append(el("details", {}, el("summary", {}, "What cannot be read"), ...job.failures.map((line) => el("p", { class: "hit-line" }, line))));
  }
  return made;
}

function words({ kind, report }) {
  if (kind === "adapt") return report.sentence;
  if (kind === "review") return `${report.items ? `${report.items.length} of ` : ""}${report.windows} windows`;
  if (kind === "evaluate") return `${Math.round(report.n * report.top1)} of ${report.n} recordings right`;
  const all = { ...report, moved: report.moved - (report.copies ?? 0) };
  const counts = ["added", "updated", "unchanged", "moved", "copies"].filter((name) => all[name]).map((name) => `${all[name]} ${name}`);
  return `${counts.join(", ") || "nothing to do"}; ${report.rows} new windows`;
}

function button(text, job, verb, place, onDone) {
  const made = el("button", { type: "button", class: "small", "aria-label": `${text} ${job.title}`, onclick: () => busy(made, async () => {
    try {
      await post(`api/jobs/${job.id}/${verb}`);
      watch(onDone);
    } catch (problem) {
      showProblem(place, problem);
    }
  }) }, text);
  return made;
}
