// The address: the section, the query, its filters and the open moment, so that a link shows the same.
// It stands behind the "#", which browsers do not send: no log has the words.

export function read() {
  const [view, query = ""] = location.hash.slice(1).split("?");
  return { view: view || "search", values: new URLSearchParams(query) };
}

export function write(view, values = {}, { replace = false } = {}) {
  const kept = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) {
    for (const each of [value].flat()) if (each !== "" && each != null) kept.append(name, each);
  }
  const text = `#${view}${kept.size ? `?${kept}` : ""}`;
  if (text === location.hash) return;
  history[replace ? "replaceState" : "pushState"](null, "", text);
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
