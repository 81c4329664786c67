// The address: the section, the query, its filters and the open moment, so that a link shows the same.
// It stands behind the "#", which browsers do not send: no log has the words.

export function read() {
  const [view, query = ""] = location.hash.slice(1).split("?");
  return { view: view || "search", values: new URLSearchParams(query) };
}

export function hashOf(view, values = {}) {
  const kept = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) {
    for (const each of [value].flat()) if (each !== "" && each != null) kept.append(name, each);
  }
  return `#${view}${kept.size ? `?${kept}` : ""}`;
}

export function write(view, values = {}, { replace = false } = {}) {
  const text = hashOf(view, values);
  if (text === location.hash) return;
  history[replace ? "replaceState" : "pushState"](null, "", text);
}

// Views that a person named: [name, address], of this browser.
const SAVED = "vlar-views";
export function saved() {
  try {
    const found = JSON.parse(localStorage.getItem(SAVED) ?? "[]");
    return found.filter(([name, hash]) => typeof name === "string" && String(hash).startsWith("#search")).slice(0, 50);
  } catch {
    return []; // private windows may keep nothing
  }
}

export function saveView(name, hash) {
  const others = saved().filter((each) => each[0] !== name);
  localStorage.setItem(SAVED, JSON.stringify(hash ? [...others, [name, hash]] : others));
}

const RECENT = "vlar-recent";
const MOST = 6;

export function recent() {
  try {
    const found = JSON.parse(localStorage.getItem(RECENT) ?? "[]");
    return Array.isArray(found) ? found.filter((each) => typeof each === "string").slice(0, MOST) : [];
  } catch {
    return []; // private windows may keep nothing
  }
}

export function remember(text) {
  if (text.includes('"upload:')) return; // uploads do not last
  try {
    localStorage.setItem(RECENT, JSON.stringify([text, ...recent().filter((each) => each !== text)].slice(0, MOST)));
  } catch { /* as above */ }
}
