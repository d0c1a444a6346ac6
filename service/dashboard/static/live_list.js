// A table of what the service has of one kind, newest first: loaded page by page, kept up to date by events.

import { getJson } from "./api.js";
import { byId, notice } from "./dom.js";
import { Redraw } from "./live.js";

const PAGE = 50;

export class LiveList {
  #items = new Map();
  #rows = new Map();
  #changed = new Set();
  // Item -> what changed of it since it was asked for.
  #asked = new Map();
  #redraw = new Redraw(() => this.#draw());
  #table;
  #more = byId("more");
  #path;
  #make;
  #fill;
  #drawn;
  #hold;
  #cursor = null;
  #oldest = null;

  /**
   * @param {HTMLTableElement} table
   * @param {string} path of the collection; an item's is that and its id.
   * @param {(item) => {line: HTMLElement}} make a row, yet to be filled.
   * @param {(row, item) => void} fill what may change of a row.
   * @param {(fetch) => Promise} hold as that of the page's feed.
   * @param {() => void} drawn called after everything was drawn.
   */
  constructor(table, path, { make, fill, hold, drawn = () => {} }) {
    this.#table = table;
    this.#path = path;
    this.#make = make;
    this.#fill = fill;
    this.#hold = hold;
    this.#drawn = drawn;
    this.#more.addEventListener("click", () => this.#hold(() => this.#loadMore()));
  }

  /** The first page, for `begin`. */
  first() {
    return getJson(`${this.#path}?limit=${PAGE}`);
  }

  /** Show this page, and nothing of what was known before. */
  begin(page) {
    this.#items.clear();
    this.#asked.clear();
    this.#rows.clear();
    this.#table.tBodies[0].replaceChildren();
    this.#take(page);
    this.#table.setAttribute("aria-busy", "false");
    notice(byId("problem"), null);
  }

  /** Overwrite fields of an item; one that is not loaded is left alone. */
  change(id, fields) {
    const item = this.#items.get(id);
    if (!item) return;
    Object.assign(item, fields);
    Object.assign(this.#asked.get(id) ?? {}, fields);
    this.#changed.add(id);
    this.#redraw.request();
  }

  /** An item that is new, or in many ways not as it was. */
  async fetch(id) {
    const since = {};
    this.#asked.set(id, since);
    try {
      const item = Object.assign(await getJson(`${this.#path}/${encodeURIComponent(id)}`), since);
      // Asked for anew meanwhile, or removed: this answer may be older.
      if (this.#asked.get(id) !== since) return;
      this.#asked.delete(id);
      // It is on a page that is not loaded yet.
      const older = this.#cursor !== null && Date.parse(item.created_at) < Date.parse(this.#oldest.created_at);
      if (!this.#rows.has(id) && older) return;
      this.#items.set(id, item);
      if (!this.#rows.has(id)) this.#table.tBodies[0].prepend(this.#add(item));
      this.#changed.add(id);
      this.#redraw.request();
    } catch {
      // It was deleted meanwhile, is none of ours, or the connection is gone: the next event, or the next load, tells.
    }
  }

  remove(id) {
    this.#rows.get(id)?.line.remove();
    this.#rows.delete(id);
    this.#items.delete(id);
    this.#asked.delete(id);
    this.#redraw.request();
  }

  async #loadMore() {
    // The list may have been fetched anew before it was this one's turn.
    if (this.#cursor === null) return;
    this.#more.disabled = true;
    try {
      this.#take(await getJson(`${this.#path}?limit=${PAGE}&cursor=${encodeURIComponent(this.#cursor)}`));
      notice(byId("problem"), null);
    } catch (problem) {
      notice(byId("problem"), problem.message);
    }
    this.#more.disabled = false;
  }

  #take(page) {
    for (const item of page.items) {
      this.#items.set(item.id, item);
      if (!this.#rows.has(item.id)) this.#table.tBodies[0].append(this.#add(item));
      this.#changed.add(item.id);
    }
    this.#cursor = page.next_cursor;
    this.#oldest = page.items.at(-1) ?? this.#oldest;
    this.#redraw.now();
  }

  #add(item) {
    const row = this.#make(item);
    this.#rows.set(item.id, row);
    return row.line;
  }

  #draw() {
    for (const id of this.#changed) {
      const item = this.#items.get(id);
      if (item) this.#fill(this.#rows.get(id), item);
    }
    this.#changed.clear();
    byId("empty").hidden = this.#items.size > 0;
    this.#table.hidden = this.#items.size === 0;
    this.#more.hidden = this.#cursor === null;
    this.#drawn();
  }
}
