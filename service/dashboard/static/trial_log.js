// A trial's log, page by page; while the trial runs, the last page grows.

import { getJson } from "./api.js";
import { byId, setText } from "./dom.js";
import { count } from "./format.js";

const PAGE = 16 * 1024;

export class TrialLog {
  #path;
  #page = null;
  #busy = false;
  #text = byId("log");
  #buttons = { first: byId("log-first"), back: byId("log-back"), on: byId("log-on"), last: byId("log-last") };

  /** @param path of the log. */
  constructor(path) {
    this.#path = path;
    const { first, back, on, last } = this.#buttons;
    first.addEventListener("click", () => this.#go(() => this.#read(0)));
    back.addEventListener("click", () => this.#go(() => this.#back()));
    on.addEventListener("click", () => this.#go(() => this.#read(this.#page.next_position)));
    last.addEventListener("click", () => this.#go(() => this.#last()));
  }

  /** Show the end of the log, or what has been printed since; whoever reads an earlier page stays there. */
  async follow() {
    if (this.#busy) return;
    const atEnd = this.#page === null || !this.#page.more;
    if (atEnd) await this.#go(() => this.#last(), true);
    else this.#page.end = (await this.#fetch(this.#page.end, 1)).end;
    this.#draw();
  }

  async #go(read, quiet = false) {
    if (this.#busy) return;
    this.#busy = true;
    try {
      const before = this.#page;
      await read();
      this.#draw();
      if (!quiet) this.#text.scrollTop = 0;
      else if (before?.end !== this.#page.end) this.#text.scrollTop = this.#text.scrollHeight;
    } catch (problem) {
      if (quiet) throw problem;
      setText(byId("log-hint"), problem.message);
    } finally {
      this.#busy = false;
    }
  }

  async #read(position) {
    this.#page = await this.#fetch(position, PAGE);
  }

  async #last() {
    const { end } = this.#page ?? (await this.#fetch(0, 1));
    let page = await this.#fetch(Math.max(0, end - PAGE), PAGE);
    // It may have grown by more than a page meanwhile.
    if (page.more) page = await this.#fetch(Math.max(0, page.end - PAGE), PAGE);
    this.#page = page;
  }

  async #back() {
    const { start } = this.#page;
    const page = await this.#fetch(Math.max(0, start - PAGE), Math.min(PAGE, start));
    // Behind a part that is not kept nothing is nearer than this page itself: go to what is kept before it.
    this.#page = page.start >= start ? await this.#fetch(0, PAGE) : page;
  }

  #fetch(position, limit) {
    return getJson(`${this.#path}?position=${position}&limit=${limit}`);
  }

  #draw() {
    const { start, text, left_out: gap, next_position: next, end, more } = this.#page;
    const empty = end === 0;
    byId("log-empty").hidden = !empty;
    this.#text.hidden = empty;
    this.#buttons.first.parentElement.hidden = empty || (start === 0 && !more);
    setText(this.#text, gap ? `[${count(gap)} characters were not kept]\n${text}` : text);
    setText(byId("log-hint"), empty ? "" : `characters ${count(start + 1)} to ${count(next)} of ${count(end)}`);
    this.#buttons.first.disabled = this.#buttons.back.disabled = start === 0;
    this.#buttons.on.disabled = this.#buttons.last.disabled = !more;
  }
}
