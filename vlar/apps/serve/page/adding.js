// Files and folders that are dropped on the page: found, sent one by one, added by jobs.

import { $, el, get, isolated, plural, post, showProblem, upload } from "./api.js";
import { follow } from "./jobs.js";

const VIDEO = /\.(mp4|m4v|mov|mkv|webm|avi|ts|mts|m2ts|mpe?g|3gp|ogv|wmv|flv)$/i;
// A folder may hold anything, and a job must begin before its first uploads make room for others.
const MOST = 1000, DEEPEST = 20, BATCH = 20, BATCH_BYTES = 500e6, TRIES = 60, WAIT_MS = 2000;
const isVideo = (file) => !file.name.startsWith(".") && (file.type.startsWith("video/") || VIDEO.test(file.name));
let changed = () => {}, isSet = false, isWorking = false, isStopped = false, most = Infinity;
let left = []; // what was not added, and why

export async function show(onChange) {
  changed = onChange;
  $("adding").hidden = false;
  if (!isSet) setUp();
  const { writable, limits } = await get("api/library");
  most = limits.upload_bytes;
  for (const name of ["adding-choose", "adding-folder"]) $(name).disabled = !writable || isWorking;
  $("adding-limit").textContent = writable
    ? `Copied to the server of this page alone, up to ${Math.floor(most / 2 ** 20)} MB each.`
    : "This library is read-only here: nothing can be added.";
}

function setUp() {
  isSet = true;
  for (const [button, input] of [["adding-choose", "adding-files"], ["adding-folder", "adding-folders"]]) {
    $(button).addEventListener("click", () => $(input).click());
    $(input).addEventListener("change", () => {
      const files = [...$(input).files];
      $(input).value = ""; // the same choice works again
      send(input === "adding-folders" ? files.filter(isVideo) : files);
    });
  }
  $("adding-stop").addEventListener("click", () => {
    isStopped = true;
    if (!isWorking) $("adding").hidden = true;
  });
}

// What a drop holds; its entries must be taken before the event ends.
export function take(transfer) {
  const given = [...transfer.items].filter((item) => item.kind === "file").map((item) => [item.webkitGetAsEntry?.(), item.getAsFile()]);
  return found(given).then(send);
}

async function found(given) {
  const files = [], folders = [];
  for (const [entry, file] of given) {
    if (entry?.isDirectory) folders.push([entry, 1]);
    else if (file) files.push(file);
  }
  for (let next; (next = folders.shift()) && files.length < MOST;) {
    const [folder, depth] = next, reader = folder.createReader();
    try {
      for (let some; (some = await new Promise((done, fail) => reader.readEntries(done, fail))).length && files.length < MOST;) {
        for (const entry of some) {
          if (entry.isDirectory && depth < DEEPEST) folders.push([entry, depth + 1]);
          else if (entry.isFile && VIDEO.test(entry.name) && !entry.name.startsWith(".")) files.push(await new Promise((done, fail) => entry.file(done, fail)));
        }
      }
    } catch (problem) {
      leave(folder.name, problem); // it cannot be read; the others can
    }
  }
  return files;
}

function leave(name, problem) {
  const { error, fix } = problem.body ?? { error: problem.message };
  note(`${isolated(name)}: ${[error, fix].filter(Boolean).join("; ")}`);
}

function note(line) {
  left.push(el("li", {}, line));
  $("adding-left").hidden = false;
  $("adding-left").querySelector("summary").textContent = `${plural(left.length, "file")} left out`;
  $("adding-left").querySelector("ul").replaceChildren(...left);
}

// A server that is busy is asked again.
async function patient(ask) {
  for (let tries = TRIES; ; tries--) {
    try {
      return await ask();
    } catch (problem) {
      if (problem.status !== 503 || !tries || isStopped) throw problem;
      await new Promise((resolve) => setTimeout(resolve, WAIT_MS));
    }
  }
}

async function send(files) {
  if (isWorking) return;
  showProblem($("adding-problem"), null);
  if (!files.length) return showProblem($("adding-problem"), { message: "No video was found in what was given." });
  isWorking = true;
  isStopped = false;
  const some = files.slice(0, MOST), jobs = [];
  $("adding-stop").textContent = "Stop sending";
  for (const id of ["adding-progress", "adding-stop"]) $(id).hidden = false;
  for (const id of ["adding-choose", "adding-folder"]) $(id).disabled = true;
  let uploads = [], bytes = 0, sent = 0;
  const begin = async () => {
    if (uploads.length) jobs.push(await patient(() => post("api/jobs", { uploads })));
    uploads = [];
    bytes = 0;
  };
  try {
    for (const [at, file] of some.entries()) {
      if (isStopped) break;
      if (uploads.length === BATCH || (bytes && bytes + file.size > BATCH_BYTES)) await begin();
      $("adding-line").textContent = `Sending ${at + 1} of ${some.length}: ${isolated(file.name)}`;
      try {
        if (file.size > most) throw new Error("it is larger than this server takes");
        const { id, container } = await patient(() => upload(file, (share) => { $("adding-progress").value = (at + share) / some.length; }));
        if (container.startsWith(".")) throw new Error("it is a picture");
        uploads.push(id);
        bytes += file.size;
        sent++;
      } catch (problem) {
        leave(file.name, problem); // one bad file ends nothing
      }
    }
    await begin();
    for (const id of ["adding-progress", "adding-stop"]) $(id).hidden = true;
    $("adding-line").textContent = `${sent} of ${plural(some.length, "file")} sent${files.length > MOST ? `; of ${files.length} the first ${MOST} were taken` : ""}.`;
    for (const job of jobs) {
      const { failures } = await follow(job, $("adding-job"));
      for (const line of failures) note(line.replace(/^[0-9a-f]{20}\//, "")); // without the folder of an upload
      changed();
    }
    if (sent && !left.length) $("adding").hidden = true; // the videos show it
  } catch (problem) {
    showProblem($("adding-problem"), problem);
  } finally {
    isWorking = false;
    $("adding-progress").hidden = true;
    $("adding-stop").textContent = "Close";
    $("adding-stop").hidden = $("view-search").classList.contains("bare");
    for (const id of ["adding-choose", "adding-folder"]) $(id).disabled = false;
  }
}
