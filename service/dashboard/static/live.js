// Following the event feed, and redrawing no more often than it pays.

const RETRY_MILLISECONDS = 1500;
const HIDDEN_MILLISECONDS = 30_000;
const DRAW_MILLISECONDS = 1000;
// A slow browser draws less often: no more than one part in this many of its time goes into drawing, as long as what is
// shown does not become old.
const DRAW_SHARE = 15;
const DRAW_MOST_MILLISECONDS = 5000;

const LABELS = { connecting: "Connecting", live: "Live", lost: "Connection lost, trying again", idle: "Paused while hidden" };

/**
 * Follow the events of one study (or tuning session), or of all.
 *
 * `kinds` are those that `apply` hears of.
 * `load` fetches the page's state. It is called whenever the stream has opened, so nothing is missed between the two;
 * events that arrive while it runs are handed to `apply` afterwards, and may tell what the state already holds.
 * A page that has been hidden for a while lets its connection go and takes it up again when it is looked at.
 */
export class Feed {
  #url;
  #kinds;
  #load;
  #apply;
  #label;
  #source = null;
  #waiting = null;
  #holds = new Set();
  #turn = Promise.resolve();
  #retry = 0;
  #hidden = 0;
  #answered = "";

  constructor({ study, kinds = ["study", "progress"], load, apply, label }) {
    this.#url = study ? `/v1/events?study=${encodeURIComponent(study)}` : "/v1/events";
    this.#kinds = kinds;
    this.#load = load;
    this.#apply = apply;
    this.#label = label;
    document.addEventListener("visibilitychange", () => this.#visibility());
    this.#open();
    // A page that opens in the background is hidden from the start.
    if (document.hidden) this.#visibility();
  }

  /** Stop for good. */
  close() {
    this.#drop();
    this.#label.hidden = true;
    this.#open = () => {};
  }

  /** Fetch the state again. */
  async reload() {
    const source = this.#source;
    await this.hold(async () => {
      try {
        await this.#load();
        this.#answered = "";
        if (source === this.#source) this.#show("live");
      } catch (problem) {
        if (source === this.#source) this.#lost(problem);
      }
    });
  }

  /**
   * Keep events back while `fetch` runs, and apply them afterwards: its answer may be older than they are.
   *
   * One `fetch` runs after the other, so that no answer that comes late is taken for newer than those before it.
   */
  async hold(fetch) {
    const source = this.#source;
    const hold = {};
    this.#holds.add(hold);
    this.#waiting ??= [];
    this.#turn = this.#turn.then(() => fetch(), () => fetch());
    try {
      await this.#turn;
    } finally {
      this.#holds.delete(hold);
      if (source === this.#source && this.#holds.size === 0) this.#release();
    }
  }

  #release() {
    const waiting = this.#waiting ?? [];
    this.#waiting = null;
    waiting.forEach((event) => this.#apply(event));
  }

  #open = () => {
    this.#drop();
    const source = new EventSource(this.#url);
    this.#source = source;
    source.addEventListener("open", () => this.reload());
    source.addEventListener("error", () => this.#error(source));
    for (const kind of this.#kinds) source.addEventListener(kind, (message) => this.#receive(message));
    // Events before this one are not kept any more.
    source.addEventListener("missed", () => this.reload());
  };

  #receive(message) {
    const event = JSON.parse(message.data);
    if (this.#waiting) this.#waiting.push(event);
    else this.#apply(event);
  }

  #error(source) {
    if (source !== this.#source) return;
    if (source.readyState !== EventSource.CLOSED) {
      this.#answered = "";
      this.#show("lost");
      return;
    }
    // The browser connects again by itself after a broken connection, but not after an answer like 503. It does not say
    // which one: asking for the page's state leads to the login where that is the reason.
    this.#load().catch((problem) => this.#note(problem));
    this.#lost();
  }

  /** Keep in mind what the service said, where it answered: then it is not the connection that is lost. */
  #note(problem) {
    this.#answered = problem.status && problem.status !== 401 ? problem.message : "";
    if (this.#label.dataset.state === "lost") this.#show("lost");
  }

  #lost(problem) {
    if (problem) this.#note(problem);
    this.#drop();
    this.#show("lost");
    this.#retry = setTimeout(() => this.#open(), RETRY_MILLISECONDS);
  }

  #drop() {
    clearTimeout(this.#retry);
    this.#source?.close();
    this.#source = null;
    this.#waiting = null;
    this.#holds.clear();
    // An answer that never comes keeps nobody waiting who connects anew.
    this.#turn = Promise.resolve();
  }

  #visibility() {
    clearTimeout(this.#hidden);
    if (document.hidden) {
      this.#hidden = setTimeout(() => {
        this.#drop();
        this.#show("idle");
      }, HIDDEN_MILLISECONDS);
    } else if (this.#source === null) {
      this.#open();
    }
  }

  #show(state) {
    const text = (state === "lost" && this.#answered) || LABELS[state];
    this.#label.dataset.state = state;
    if (this.#label.textContent !== text) this.#label.textContent = text;
  }
}

/** Calls `draw` soon after `request`, at most once a second (less often when it takes long), never on a hidden page. */
export class Redraw {
  #draw;
  #timer = 0;
  #next = 0;
  #wanted = false;

  constructor(draw) {
    this.#draw = draw;
    document.addEventListener("visibilitychange", () => this.#wanted && this.request());
  }

  request() {
    this.#wanted = true;
    if (this.#timer || document.hidden) return;
    const wait = Math.max(0, this.#next - performance.now());
    this.#timer = setTimeout(() => {
      this.#timer = 0;
      if (document.hidden) return;
      this.now();
    }, wait);
  }

  now() {
    this.#wanted = false;
    const began = performance.now();
    this.#draw();
    const ended = performance.now();
    const rest = Math.max(DRAW_MILLISECONDS, DRAW_SHARE * (ended - began));
    this.#next = ended + Math.min(DRAW_MOST_MILLISECONDS, rest);
  }
}
