// A dialog with fields: it keeps what was typed until the service has taken it.

import { byId, notice } from "./dom.js";
import { Draft } from "./draft.js";
import { Fields } from "./fields.js";

export class FormDialog {
  #node;
  #problem;
  #make;
  #send;
  #changed;
  #draft = new Draft();
  #fields = null;

  /**
   * `make(fields, draft)` gives the fields when the dialog opens, `changed(fields, draft)` hears of edits (and may show
   * what is wrong), and `send(draft)` does what the dialog is for; the dialog closes when it returns without a problem.
   */
  constructor(id, { make, send, changed = () => {} }) {
    this.#node = byId(id);
    this.#problem = this.#node.querySelector(".dialog-problem");
    this.#make = make;
    this.#send = send;
    this.#changed = changed;
    this.#node.querySelector("[data-close]").addEventListener("click", () => this.#node.close());
    const done = this.#node.querySelector("[data-done]");
    done.addEventListener("click", () => this.#done(done));
    this.#node.addEventListener("keydown", (event) => {
      // The Enter that ends a word of an input method is none of the form's.
      if (event.key === "Enter" && !event.isComposing && event.target.tagName === "INPUT") this.#done(done);
    });
  }

  open(values) {
    this.#draft = new Draft(values);
    this.#fields = new Fields(this.#draft, () => this.#changed(this.#fields, this.#draft));
    this.render();
    notice(this.#problem, null);
    this.#node.showModal();
  }

  /** Make the fields anew. */
  render() {
    this.#node.querySelector(".field-grid").replaceChildren(...this.#make(this.#fields, this.#draft));
  }

  async #done(button) {
    if (button.disabled) return;
    button.disabled = true;
    try {
      await this.#send(this.#draft.study);
      this.#node.close();
    } catch (problem) {
      notice(this.#problem, problem.message);
      this.#fields.show(problem.errors ?? [], true);
    }
    button.disabled = false;
  }
}
