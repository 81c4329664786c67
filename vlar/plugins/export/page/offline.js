// Keeps what the page fetches, so that it works without a network; one cache a version.

const version = location.search.slice(1), mine = `vlar ${registration.scope} `, SHELL = ["./", "style.css", "app.js", "video.js", "pixels.js", "card.json"];

addEventListener("install", (event) => {
  skipWaiting();
  event.waitUntil(caches.open(mine + version).then((cache) => cache.addAll(SHELL)));
});
addEventListener("activate", (event) => {
  const old = caches.keys().then((names) => names.filter((name) => name.startsWith(mine) && name !== mine + version));
  event.waitUntil(old.then((names) => Promise.all(names.map((name) => caches.delete(name)))).then(() => clients.claim()));
});

async function answer(request) {
  const cache = await caches.open(mine + version), lasting = /\/(model|runtime)\//.test(request.url);
  const fetched = () => fetch(request).then((response) => {
    if (response.ok) cache.put(request, response.clone());
    return response;
  });
  const stored = () => cache.match(request, { ignoreSearch: !lasting });
  if (lasting) return (await stored()) ?? fetched();
  return fetched().catch(async () => (await stored()) ?? Response.error());
}

addEventListener("fetch", (event) => {
  const { method, url } = event.request;
  if (method === "GET" && url.startsWith(registration.scope)) event.respondWith(answer(event.request));
});
