// Copying a text, also where the browser keeps the clipboard from pages.

import { element, setText } from "./dom.js";

const SAID_MILLISECONDS = 2000;

/** Put a text on the clipboard; where the browser refuses, mark it in the area that `shown()` gives. Whether it was put. */
export async function copied(text, shown) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = shown();
    area.focus();
    area.select();
    return false;
  }
}

/** Let a button copy what `text()` gives; where that is refused, the text is shown, marked, to be copied by keyboard. */
export function copies(button, text) {
  const label = button.textContent;
  button.addEventListener("click", async () => {
    if (!(await copied(text(), () => areaFor(button, text())))) return;
    setText(button, "Copied");
    setTimeout(() => setText(button, label), SAID_MILLISECONDS);
  });
}

function areaFor(button, text) {
  const card = button.closest("section, figure");
  const area = card.querySelector("textarea.to-copy") ?? element("textarea", { class: "code to-copy", readonly: true, rows: 8, "aria-label": "Press Ctrl+C to copy this" });
  area.value = text;
  if (!area.isConnected) card.append(element("p", { class: "hint", text: "This browser lets no page copy by itself. The text is marked: press Ctrl+C." }), area);
  return area;
}
