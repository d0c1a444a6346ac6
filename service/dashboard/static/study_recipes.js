// Texts that submit a study like this one, to be copied.

import { getJson } from "./api.js";
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

/** Put a text on the clipboard; where the browser does not allow that, it is left selected for the keyboard. */
async function copy(area, button) {
  try {
    await navigator.clipboard.writeText(area.value);
    setText(button, "Copied");
    setText(byId("copied"), "Copied");
    button.focus();
  } catch {
    area.focus();
    area.select();
    setText(button, "Selected: press Ctrl+C");
    setText(byId("copied"), "The text is selected; press Control C to copy it");
  }
}
