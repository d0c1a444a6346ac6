// Studies that are marked in the list, to be compared.

import { byId, element, setText } from "./dom.js";

const MOST = 6;

export class Chosen {
  #marked = new Map();
  #link = byId("compare");
  #hint = byId("compare-hint");

  constructor() {
    byId("compare-none").addEventListener("click", () => this.#clear());
    this.#show();
  }

  /** Put a box to mark the study into its row. */
  offer(row, study) {
    const box = element("input", { type: "checkbox", "aria-label": `Compare ${study.name}`, value: study.id });
    box.checked = this.#marked.has(study.id);
    box.addEventListener("change", () => this.#mark(study.id, box));
    if (box.checked) this.#marked.set(study.id, box);
    // The label makes the place around the box one to click on.
    row.name.before(element("label", { class: "mark" }, box));
  }

  drop(id) {
    if (this.#marked.delete(id)) this.#show();
  }

  #mark(id, box) {
    if (box.checked) this.#marked.set(id, box);
    else this.#marked.delete(id);
    this.#show();
  }

  #clear() {
    for (const box of this.#marked.values()) box.checked = false;
    this.#marked.clear();
    this.#show();
    this.#link.parentElement.hidden = true;
    document.querySelector("#studies input[type=checkbox]")?.focus();
  }

  #show() {
    const marked = this.#marked.size;
    const fits = marked >= 2 && marked <= MOST;
    this.#link.parentElement.hidden = marked === 0;
    setText(this.#link, `Compare ${marked}`);
    this.#link.hidden = !fits;
    if (fits) this.#link.href = `/compare?${new URLSearchParams([...this.#marked.keys()].map((id) => ["study", id]))}`;
    setText(this.#hint, marked < 2 ? "Mark another study to compare it with." : marked > MOST ? `At most ${MOST} studies can be compared; ${marked} are marked.` : `${marked} studies are marked.`);
  }
}
