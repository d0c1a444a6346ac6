// The table of trials: pages from the server, rows kept up to date, details on demand.

import { getJson } from "./api.js";
import { badge, byId, element, notice, setBadge, setText } from "./dom.js";
import { amount, count, duration, measured, moment, setting } from "./format.js";
import { isOpen } from "./study_state.js";

const PAGE = 100;
// Rows that arrive live on top of the first page before it is fetched anew, which forgets the oldest.
const MAX_ARRIVALS = 300;

export class TrialTable {
  #state;
  #feed;
  #table = byId("trials");
  #more = byId("more");
  #newer = byId("newer");
  #empty = byId("trials-empty");
  #rows = new Map();
  #cursor = null;
  #paged = false;
  #arrivals = new Set();
  #columns = [];

  /** `feed()` is the feed whose events `update` tells of: they wait while rows are fetched. */
  constructor(state, feed) {
    this.#state = state;
    this.#feed = feed;
    this.#more.addEventListener("click", () => this.#feed().hold(() => this.#loadMore()));
    this.#newer.addEventListener("click", () => this.#feed().reload());
  }

  /** Fetch the newest trials again, for the feed; rows that were open stay open. */
  async reload() {
    const page = await getJson(`${this.#url()}?limit=${PAGE}`);
    const open = [...this.#rows.values()].filter((row) => !row.detail.hidden).map((row) => row.number);
    this.#state.trials.clear();
    this.#state.addTrials(page.items);
    this.#rows.clear();
    this.#table.tBodies[0].replaceChildren();
    this.#head();
    page.items.forEach((trial) => this.#append(trial));
    this.#cursor = page.next_cursor;
    this.#paged = false;
    this.#arrivals.clear();
    open.forEach((number) => this.#rows.has(number) && this.#toggle(this.#rows.get(number)));
    this.#table.setAttribute("aria-busy", "false");
    this.#foot();
  }

  /** Show what changed in these trials. */
  update(numbers) {
    for (const number of [...numbers].sort((a, b) => a - b)) {
      const trial = this.#state.trials.get(number);
      if (!trial) continue;
      const row = this.#rows.get(number);
      if (row) {
        this.#fill(row, trial);
        if (trial.ended_at && !row.detail.hidden) this.#loadDetail(row);
      } else {
        this.#arrivals.add(number);
        if (!this.#paged) this.#prepend(trial);
      }
    }
    if (!this.#paged && this.#arrivals.size > MAX_ARRIVALS) {
      // Asked for once: the next drawing may come before the answer.
      this.#arrivals.clear();
      this.#feed().reload();
    }
    this.#foot();
  }

  #url() {
    return `/v1/studies/${encodeURIComponent(this.#state.study.id)}/trials`;
  }

  async #loadMore() {
    this.#more.disabled = true;
    const cursor = this.#cursor;
    try {
      const page = await getJson(`${this.#url()}?limit=${PAGE}&cursor=${encodeURIComponent(cursor)}`);
      // When the rows were fetched anew meanwhile, others come next.
      if (cursor === this.#cursor) this.#appendPage(page);
      notice(byId("problem"), null);
    } catch (problem) {
      notice(byId("problem"), problem.message);
    }
    this.#more.disabled = false;
    this.#foot();
  }

  #head() {
    if (this.#columns.length) return;
    const { spec } = this.#state.study;
    const objective = this.#state.objective;
    const resource = spec.fidelity ? spec.fidelity.name : "resource";
    this.#columns = [
      { title: "Trial", class: "num" },
      { title: "State" },
      { title: "Rung", class: "num wide-only" },
      { title: resource, class: "num own-name" },
      { title: objective.unit ? `${objective.metric} (${objective.unit})` : objective.metric, class: "num own-name" },
      { title: "Time", class: "num wide-only" },
      { title: "Configuration", class: "wide-only stretch" },
    ];
    this.#table.tHead.rows[0].replaceChildren(
      ...this.#columns.map(({ title, class: kind }) => element("th", { scope: "col", class: kind, text: title, title: kind?.includes("own-name") ? title : null })),
    );
  }

  #appendPage(page) {
    const fresh = page.items.filter((trial) => !this.#rows.has(trial.number));
    this.#state.addTrials(fresh);
    fresh.forEach((trial) => this.#append(trial));
    this.#cursor = page.next_cursor;
    this.#paged = true;
  }

  #append(trial) {
    const row = this.#make(trial);
    this.#table.tBodies[0].append(row.line, row.detail);
  }

  #prepend(trial) {
    const row = this.#make(trial);
    this.#table.tBodies[0].prepend(row.line, row.detail);
  }

  #make(trial) {
    const id = `detail-${trial.number}`;
    const button = element("button", {
      type: "button",
      class: "expander",
      "aria-expanded": "false",
      "aria-controls": id,
      "aria-label": `Trial ${trial.number}, details`,
    });
    const link = element("a", { href: `/trials/${encodeURIComponent(trial.id)}`, text: String(trial.number), title: `Page of trial ${trial.number}` });
    const cells = this.#columns.map(({ class: kind }) => element("td", { class: kind?.replace("own-name", "") }));
    const state = badge(trial.state);
    cells[0].append(button, link);
    cells[1].append(state);
    const body = element("td", { colspan: this.#columns.length });
    const row = {
      number: trial.number,
      line: element("tr", { data: { trial: trial.number } }, ...cells),
      detail: element("tr", { class: "detail", id, hidden: true }, body),
      button,
      cells,
      state,
      body,
    };
    button.addEventListener("click", () => this.#toggle(row));
    this.#rows.set(trial.number, row);
    this.#fill(row, trial);
    return row;
  }

  #fill(row, trial) {
    const { cells } = row;
    const best = this.#state.study.best.some((entry) => entry.trial === trial.number);
    row.line.dataset.best = best;
    setBadge(row.state, trial.state);
    setText(cells[2], trial.rung === null ? "–" : String(trial.rung));
    setText(cells[3], trial.resource ? amount(trial.resource) : "–");
    setText(cells[4], measured(trial.metrics[this.#state.objective.metric]));
    setText(cells[5], trial.seconds ? duration(trial.seconds) : "–");
    const text = trial.problem ?? summary(trial.config);
    setText(cells[6], text);
    cells[6].title = text;
    cells[6].classList.toggle("bad", Boolean(trial.problem));
  }

  #foot() {
    this.#more.hidden = this.#cursor === null;
    this.#empty.hidden = this.#rows.size > 0;
    this.#table.hidden = this.#rows.size === 0;
    this.#newer.hidden = !(this.#paged && this.#arrivals.size > 0);
    setText(this.#newer, `Show ${count(this.#arrivals.size)} newer`);
  }

  #toggle(row) {
    row.detail.hidden = !row.detail.hidden;
    row.button.setAttribute("aria-expanded", String(!row.detail.hidden));
    if (!row.detail.hidden) this.#loadDetail(row);
  }

  async #loadDetail(row) {
    if (!row.body.hasChildNodes()) row.body.append(element("p", { class: "hint", text: "Loading…" }));
    const asked = (row.asked = {});
    try {
      const trial = await getJson(`/v1/trials/${encodeURIComponent(`${this.#state.study.id}-${row.number}`)}`);
      // Asked for anew meanwhile: this one may be older.
      if (row.asked !== asked) return;
      row.body.replaceChildren(detail(trial, isOpen(this.#state.study)));
    } catch (problem) {
      if (row.asked !== asked) return;
      row.body.replaceChildren(element("p", { class: "notice notice-bad", text: problem.message }));
    }
  }
}

function summary(config) {
  return Object.entries(config)
    .map(([name, value]) => `${name} ${setting(value)}`)
    .join(" · ");
}

/** A configuration as a list of names and values. */
export function configuration(config) {
  return Object.entries(config).map(([name, value]) =>
    element("div", {}, element("dt", { text: name, title: name }), element("dd", { text: setting(value), title: String(value) })),
  );
}

function detail(trial, open) {
  const failed = trial.jobs.find((job) => job.traceback);
  return element(
    "div",
    { class: "detail-body" },
    trial.problem ? element("p", { class: "notice notice-bad", text: trial.problem }) : null,
    // Whoever steers the study hears of it; see study_steer.js.
    trial.state === "failed" && byId("retry") ? element("p", {}, element("button", { type: "button", class: "button button-tiny", hidden: !open, data: { retry: trial.number }, text: "Try this configuration again" })) : null,
    failed ? block("Traceback", failed.traceback, `of job ${failed.number}`) : null,
    element("h3", { text: "Configuration" }),
    element("dl", { class: "config" }, ...configuration(trial.config)),
    element("h3", { text: "Jobs" }),
    jobs(trial.jobs),
    trial.log ? block("End of the log", trial.log) : null,
  );
}

function block(title, text, note = "") {
  const label = note ? `${title} ${note}` : title;
  return element("div", {}, element("h3", { text: label }), element("pre", { class: "code", text, tabindex: 0, role: "region", "aria-label": label }));
}

/** The legs of a trial as a table: who ran them, and when. */
export function jobs(list) {
  const columns = ["Job", "State", "From", "To", "Attempts", "Started", "Time", "Worker"];
  const head = element("tr", {}, ...columns.map((text, i) => element("th", { scope: "col", text, class: i === 1 || i === 7 ? null : "num" })));
  const rows = list.map((job) => {
    const seconds = job.ended_at ? (Date.parse(job.ended_at) - Date.parse(job.started_at)) / 1000 : null;
    const values = [job.number, null, amount(job.start), amount(job.end), job.attempts, moment(job.started_at), duration(seconds), job.worker ?? "–"];
    const cells = values.map((value, i) => element("td", { text: value === null ? null : String(value), class: i === 1 || i === 7 ? null : "num" }));
    cells[1].append(badge(job.state));
    return element("tr", {}, ...cells);
  });
  return element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Jobs" }, element("table", { class: "grid small" }, element("thead", {}, head), element("tbody", {}, ...rows)));
}
