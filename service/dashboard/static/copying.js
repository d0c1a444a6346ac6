// Copying a text, also where the browser keeps the clipboard from pages.

import { element, setText } from "./dom.js";

const SAID_MILLISECONDS = 2000;

/** Let a button copy what `text()` gives; where that is refused, the text is shown, marked, to be copied by keyboard. */
export function copies(button, text) {
  const label = button.textContent;
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text());
      setText(button, "Copied");
      setTimeout(() => setText(button, label), SAID_MILLISECONDS);
    } catch {
      show(button, text());
    }
  });
}

function show(button, text) {
  const card = button.closest("section, figure");
  const shown = card.querySelector("textarea.to-copy") ?? element("textarea", { class: "code to-copy", readonly: true, rows: 8, "aria-label": "Press Ctrl+C to copy this" });
  shown.value = text;
  if (!shown.isConnected) card.append(element("p", { class: "hint", text: "This browser lets no page copy by itself. The text is marked: press Ctrl+C." }), shown);
  shown.focus();
  shown.select();
}
