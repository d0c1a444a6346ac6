// Why nothing is running, in the service's own words, while nothing is.

import { getJson } from "./api.js";
import { element } from "./dom.js";
import { sentence } from "./format.js";

const EVERY_MILLISECONDS = 5000;
// A study that has just been submitted, or is between two trials, needs no explanation.
const PATIENCE_MILLISECONDS = 3000;

export class Findings {
  /** @param card holds a list; it is hidden while there is nothing to say.  @param path of the diagnosis. */
  constructor(card, path) {
    this.card = card;
    this.path = path;
    this.still = false;
    this.timer = 0;
  }

  /** Whether the study stands still and somebody may wonder why. */
  update(still) {
    if (still === this.still) return;
    this.still = still;
    clearTimeout(this.timer);
    if (still) this.timer = setTimeout(() => this.ask(), PATIENCE_MILLISECONDS);
    else this.show([]);
  }

  async ask() {
    try {
      const { findings } = await getJson(this.path);
      if (this.still) this.show(findings);
    } catch {
      // The connection is gone, which the page shows, or the study is.
    }
    if (this.still) this.timer = setTimeout(() => this.ask(), EVERY_MILLISECONDS);
  }

  show(findings) {
    this.card.hidden = findings.length === 0;
    const text = JSON.stringify(findings);
    if (this.card.dataset.text === text) return;
    this.card.dataset.text = text;
    this.card.querySelector("ul").replaceChildren(...findings.map(line));
  }
}

function line({ severity, seen, why, remedy }) {
  return element(
    "li",
    { data: { severity } },
    element("p", { class: "finding-seen", text: `${sentence(seen)} ${sentence(why)}` }),
    element("p", { class: "hint", text: sentence(remedy) }),
  );
}
