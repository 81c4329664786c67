// A dialog: what it asks for, and its buttons [text, work]; work ends it unless it fails.

import { $, busy, el, showProblem } from "./api.js";

// Gives a function that changes the title, and switches the buttons off.
export function dialog(title, body, buttons) {
  $("dialog-title").textContent = title;
  $("dialog-body").replaceChildren(...body);
  showProblem($("dialog-problem"), null);
  const made = buttons.map(([text, work], at) => {
    const button = el("button", { type: at ? "button" : "submit", class: at ? "" : "main" }, text);
    button.run = () => busy(button, async () => {
      try {
        await work();
        $("dialog").close();
        if (document.activeElement === document.body) $("main").focus({ preventScroll: true });
      } catch (problem) {
        showProblem($("dialog-problem"), problem);
      }
    });
    if (at) button.addEventListener("click", button.run);
    return button;
  });
  $("dialog-actions").replaceChildren(...made, el("button", { type: "button", class: "plain", onclick: () => $("dialog").close() }, made.length ? "Cancel" : "Close"));
  $("dialog-form").onsubmit = (event) => {
    event.preventDefault();
    made[0]?.run();
  };
  $("dialog").showModal();
  return (text, off) => {
    $("dialog-title").textContent = text;
    for (const button of made) button.disabled = off;
  };
}

export function field(id, label, attributes = {}, options = []) {
  const input = el("input", { id, type: "text", list: `${id}-list`, autocomplete: "off", spellcheck: "false", ...attributes });
  const list = el("datalist", { id: `${id}-list` }, ...options.map((value) => el("option", { value })));
  return { input, list, row: named(label, input, list) };
}

export const named = (words, input, ...more) => el("div", { class: "field" }, el("label", { for: input.id }, words), input, ...more);
