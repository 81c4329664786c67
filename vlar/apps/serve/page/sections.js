// What the page loads when it is opened: the player, the map, and the sections other than the search.

import { $, el, showProblem } from "./api.js";

let markup = null; // elements and style of all of them, once
let player = null, wanted = null; // the moment that waits for the player: { hit, given }

const styled = () => new Promise((resolve, reject) => document.head.append(
  el("link", { rel: "stylesheet", href: "page/sections.css", onload: resolve, onerror: () => reject(new Error("The server does not answer.")) })));

async function elements() {
  const [text] = await Promise.all([fetch("page/sections.html").then((answer) => answer.text()), styled()]);
  const parts = new DOMParser().parseFromString(text, "text/html");
  document.querySelector(".views").append(...parts.querySelectorAll("[id^='view-']"));
  document.querySelector(".columns").append(parts.getElementById("player"));
  $("search-status").after(parts.getElementById("adding"));
}

// part: imports a module, which finds its elements in the page.
export async function load(part) {
  markup ??= elements();
  try {
    await markup;
  } catch (problem) {
    markup = null; // the next try asks again
    throw problem;
  }
  return part();
}

export async function play(hit, given) {
  if (player) return player.play(hit, given);
  const mine = (wanted = { hit, given });
  try {
    player = await load(() => import("./player.js"));
    if (wanted === mine) player.play(hit, given);
  } catch (problem) {
    showProblem($("problem"), problem);
  } finally {
    if (wanted === mine) wanted = null;
  }
}

export function close(options) {
  wanted = null;
  player?.close(options);
}

export const nameOf = (hit) => `${hit.video}_${hit.start_s}_${hit.end_s}`;

export const isOpen = (name) => (player ? player.isOpen(name) : wanted !== null && (!name || name === nameOf(wanted.hit)));
