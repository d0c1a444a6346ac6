// What a session's page knows: the session, its newest intervals and its notices, fetched again as they happen.

import { getJson } from "./api.js";
import { settingsOf } from "./tuning_words.js";

const PAGE = 200;
const NEWS = 20;
// Rows of the list of intervals, at first and with each "more".
const ROWS = 40;

export class TuningState {
  #api;
  #cursor = null;
  #rows = ROWS;

  constructor(api) {
    this.#api = api;
    this.session = null;
    this.intervals = [];
    this.notices = [];
  }

  /** Whether there are older intervals than those that were fetched. */
  get older() {
    return this.#cursor !== null;
  }

  /** Whether there are older intervals than those that are listed. */
  get more() {
    return this.older || this.intervals.length > this.#rows;
  }

  /** Knob -> value before the session. */
  get former() {
    return Object.fromEntries(Object.entries(this.session.former ?? {}).map(([name, { value }]) => [name, value]));
  }

  /** Settings that stand, as far as they were seen. */
  get now() {
    return { ...this.former, ...this.session.current };
  }

  /** Everything, from the newest interval back. */
  async load() {
    const [session, intervals, notices] = await Promise.all([
      getJson(this.#api),
      getJson(`${this.#api}/intervals?limit=${PAGE}`),
      getJson(`${this.#api}/notices?limit=${PAGE}`),
    ]);
    this.session = session;
    this.intervals = merged([], intervals.items);
    this.notices = merged([], notices.items);
    this.#cursor = intervals.next_cursor;
  }

  /** What has happened since; more than a page of it is fetched as a whole. */
  async update() {
    const [session, intervals, notices] = await Promise.all([
      getJson(this.#api),
      getJson(`${this.#api}/intervals?limit=${NEWS}`),
      getJson(`${this.#api}/notices?limit=${NEWS}`),
    ]);
    const missed = intervals.next_cursor && this.intervals.length && intervals.items.at(-1).number > this.intervals[0].number;
    if (missed) return this.load();
    this.session = session;
    this.intervals = merged(this.intervals, intervals.items);
    this.notices = merged(this.notices, notices.items);
  }

  async showMore() {
    this.#rows += ROWS;
    if (this.#rows <= this.intervals.length || !this.older) return;
    const page = await getJson(`${this.#api}/intervals?limit=${PAGE}&cursor=${encodeURIComponent(this.#cursor)}`);
    this.intervals = merged(this.intervals, page.items);
    this.#cursor = page.next_cursor;
  }

  /** The newest part of the story, newest first. */
  listed() {
    return this.story().reverse().slice(0, this.#rows);
  }

  setSession(session) {
    this.session = session;
  }

  /** When settings were put back between intervals: with what stood before, and what has stood since. */
  restored(story) {
    const last = (at) => story.findLast(({ interval }) => Date.parse(interval.at) <= Date.parse(at));
    return this.notices.filter(({ settings }) => settings).map(({ at, text, settings }) => ({ at, text, settings, stood: last(at)?.after ?? settings }));
  }

  /** Intervals, oldest first, each with the settings that stood before it (`before`) and that it is about (`after`). */
  story() {
    const { mode } = this.session;
    const former = this.former;
    let stood = this.older ? null : former;
    return [...this.intervals].reverse().map((interval) => {
      const judged = !interval.skipped;
      const after = judged ? { ...former, ...settingsOf(interval, mode) } : stood ?? former;
      // The settings before the oldest interval that is shown are not known where there are older ones.
      const told = { interval, before: stood ?? after, after };
      // Advice is against what stands; it does not stand itself.
      if (judged) stood = mode === "advice" ? { ...former, ...interval.config } : after;
      return told;
    });
  }
}

/** Both lists, each number once, newest first. */
function merged(known, news) {
  const all = new Map([...known, ...news].map((item) => [item.number, item]));
  return [...all.values()].sort((a, b) => b.number - a.number);
}
