// Texts that submit a study like this one, to be copied.

import { getJson } from "./api.js";
import { copied } from "./copying.js";
import { byId, element, notice, setText } from "./dom.js";

const TITLES = { python: "Python", cli: "Shell", curl: "curl" };

/** Fetch the texts and show them in their dialog. */
export async function showRecipes(dialog, url) {
  const problem = dialog.querySelector(".dialog-problem");
  const host = dialog.querySelector(".recipes");
  dialog.showModal();
  setText(byId("copied"), "");
  try {
    const texts = await getJson(url);
    host.replaceChildren(...Object.entries(TITLES).map(([name, title]) => recipe(title, texts[name])));
    notice(problem, null);
  } catch (failure) {
    notice(problem, failure.message);
  }
}

function recipe(title, text) {
  const area = element("textarea", { class: "text", readonly: true, spellcheck: "false", "aria-label": `${title}, text to copy` });
  area.value = text;
  const button = element("button", { type: "button", class: "button button-small", text: "Copy", "aria-label": `Copy ${title}` });
  button.addEventListener("click", () => copy(area, button));
  return element("section", { class: "recipe" }, element("div", { class: "card-head" }, element("h3", { text: title }), button), area);
}

async function copy(area, button) {
  const done = await copied(area.value, () => area);
  if (done) button.focus();
  setText(button, done ? "Copied" : "Selected: press Ctrl+C");
  setText(byId("copied"), done ? "Copied" : "The text is selected; press Control C to copy it");
}
