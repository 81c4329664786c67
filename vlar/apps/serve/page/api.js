// Requests, and small helpers that build the page. Text of others is only ever set as text.

export class Problem extends Error {
  constructor(body, status) {
    super(body.error);
    this.body = body;
    this.status = status;
  }
}

let askToken = null; // asks the person for the token once, however many requests need it
export function onToken(ask) { askToken = ask; }

export async function call(method, path, body) {
  for (;;) {
    const options = { method, headers: {} };
    if (body !== undefined) {
      options.headers["content-type"] = "application/json";
      options.body = JSON.stringify(body);
    }
    let answer;
    try {
      answer = await fetch(path, options);
    } catch {
      throw new Problem({ error: "the server does not answer", fix: "start it again: vlar serve LIBRARY", kind: "net" }, 0);
    }
    if (answer.status === 401 && path !== "api/session" && askToken) {
      await askToken();
      continue;
    }
    const found = await answer.json().catch(() => ({ error: `status ${answer.status}`, fix: "try again", kind: "http" }));
    if (!answer.ok) throw new Problem(found, answer.status);
    return found;
  }
}
// A file that the server makes, saved under a name.
export async function download(path, body, name) {
  const answer = await fetch(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
  if (!answer.ok) throw new Problem(await answer.json(), answer.status);
  const url = URL.createObjectURL(await answer.blob());
  el("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60000);
}

// Each line of an answer as it comes; ``signal`` ends it.
export async function lines(path, body, onLine, signal) {
  const answer = await fetch(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body), signal });
  if (!answer.ok) throw new Problem(await answer.json(), answer.status);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = ""; ;) {
    const { value, done } = await reader.read();
    const found = (rest + (value ?? "")).split("\n");
    rest = found.pop();
    for (const line of found) onLine(JSON.parse(line));
    if (done) return;
  }
}

// A place that files can be dropped on, with the input that chooses one.
export function dropPlace(place, input, take) {
  for (const name of ["dragenter", "dragover"]) place.addEventListener(name, (event) => {
    event.preventDefault();
    place.classList.add("over");
  });
  for (const name of ["dragleave", "drop"]) place.addEventListener(name, (event) => {
    event.preventDefault();
    place.classList.remove("over");
  });
  place.addEventListener("drop", (event) => take([...event.dataTransfer.files], event.dataTransfer));
  input.addEventListener("change", () => take([...input.files]));
}

export const get = (path) => call("GET", path);
export const post = (path, body) => call("POST", path, body);

export function upload(file, onProgress) {
  // fetch does not report how far an upload is.
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", `api/uploads?name=${encodeURIComponent(file.name)}`);
    request.responseType = "json";
    request.upload.onprogress = (event) => onProgress(event.total ? event.loaded / event.total : 0);
    request.onload = () => {
      const body = request.response ?? { error: `status ${request.status}`, fix: "try again", kind: "http" };
      if (request.status === 201) resolve(body);
      else reject(new Problem(body, request.status));
    };
    request.onerror = () => reject(new Problem({ error: "the upload was refused", fix: "send a smaller file", kind: "net" }, 0));
    request.send(file);
  });
}

export const $ = (id) => document.getElementById(id);

export function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name.startsWith("aria-") && value != null) made.setAttribute(name, value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value != null) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child != null));
  return made;
}

export function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

export function clock(seconds) {
  const tenths = Math.floor(seconds * 10 + 1e-6);
  const two = (n) => String(n).padStart(2, "0");
  const s = Math.floor(tenths / 10) % 60, m = Math.floor(tenths / 600) % 60, h = Math.floor(tenths / 36000);
  const tail = `${two(s)}.${tenths % 10}`;
  return h ? `${h}:${two(m)}:${tail}` : `${m}:${tail}`;
}
// A name inside a text: its direction of writing turns nothing around it.
export const isolated = (name) => `\u2068${name}\u2069`;
export const plural = (n, word) => `${n} ${n === 1 ? word : `${word}s`}`;
export const percent = (p) => `${Math.round(100 * p)} %`;
export const thumbnail = (video, atS, width = 320, box = null) => `api/videos/${video}/thumbnail?at_s=${atS.toFixed(2)}&width=${width}${box ? `&box=${box}` : ""}`;

export function showProblem(place, problem) {
  place.replaceChildren();
  if (!problem) return;
  const body = problem.body ?? { error: String(problem.message ?? problem), fix: "" };
  const box = el("div", { class: "problem" });
  if (typeof body.position === "number") {
    // A caret below the wrong character, as on the command line.
    box.append(el("pre", {}, `${body.query}\n${" ".repeat([...body.query.slice(0, body.position)].length)}^`));
  }
  box.append(el("p", {}, el("strong", {}, sentence(body.error)), ` ${sentence(body.fix)}`));
  place.append(box);
}

function sentence(text) {
  if (!text) return "";
  const begun = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(begun) ? begun : `${begun}.`;
}

export async function busy(button, work) {
  if (button.disabled) return;
  button.disabled = true;
  try {
    await work();
  } finally {
    button.disabled = false;
  }
}
