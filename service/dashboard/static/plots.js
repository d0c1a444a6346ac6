// All plots of one study. What is drawn comes from the server, thinned; a plot is fetched when it comes into sight.

import { getJson } from "./api.js";
import { drawn, loadPlotly } from "./charts.js";
import { byId, element, notice, setBadge, setText } from "./dom.js";
import { Feed } from "./live.js";
import { isFinal } from "./study_state.js";

// Studies that run change all the time; plots of them are looked at for their shape.
const REFRESH_MILLISECONDS = 15_000;
const RETRY_MILLISECONDS = 5000;
// A picture to be saved has the same size on every screen.
const PICTURE = { clientWidth: 1000, clientHeight: 600 };

const root = byId("plots-of");
const api = `/v1/studies/${encodeURIComponent(root.dataset.study)}`;
const cards = new Map();
const sight = new IntersectionObserver((entries) => entries.forEach(seen), { rootMargin: "200px" });
let study = null;
let changedAt = 0;

const feed = new Feed({ study: root.dataset.study, load, apply, label: byId("connection") });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => cards.forEach((card) => card.redraw()));
setInterval(refresh, REFRESH_MILLISECONDS);

async function load() {
  try {
    study = await getJson(api);
    const offered = await getJson(`${api}/plots`);
    for (const info of offered) if (!cards.has(info.name)) add(info);
  } catch (problem) {
    if (problem.status !== 404) throw problem;
    deleted();
    return;
  }
  setBadge(byId("state"), study.state);
  byId("plots").setAttribute("aria-busy", "false");
  cards.forEach((card) => card.changed());
}

function apply(event) {
  if (event.kind === "study") {
    if (event.body.state === "deleted") deleted();
    else feed.reload();
    return;
  }
  changedAt = performance.now();
}

function refresh() {
  if (study === null || isFinal(study) || document.hidden) return;
  if (performance.now() - changedAt < REFRESH_MILLISECONDS) cards.forEach((card) => card.changed());
}

function deleted() {
  feed.close();
  notice(byId("problem"), "This study was deleted. What is shown is the last that was known of it.");
}

function add(info) {
  const card = new Card(info);
  cards.set(info.name, card);
  byId("plots").append(card.figure);
  sight.observe(card.figure);
}

function seen(entry) {
  const card = cards.get(entry.target.dataset.plot);
  card.visible = entry.isIntersecting;
  card.update();
}

/** Whether the same answer would come again. */
function isRefusal({ status }) {
  return status >= 400 && status < 500 && status !== 429;
}

/** One plot in its frame, with what can be chosen and taken away. */
class Card {
  constructor(info) {
    this.info = info;
    this.visible = false;
    this.stale = true;
    this.plot = null;
    this.asked = 0;
    const id = `plot-${info.name}`;
    this.canvas = element("div", { class: "plot-canvas", role: "img", "aria-label": info.title });
    this.empty = element("p", { class: "plot-empty", text: "Loading…" });
    this.hint = element("p", { class: "hint" });
    this.choices = info.choose.map((name, at) => this.#choice(name, at));
    this.saves = [
      ...["png", "svg"].map((format) => element("button", { type: "button", class: "button button-tiny", text: format.toUpperCase(), "aria-label": `Save ${info.title} as ${format.toUpperCase()}`, on: { click: () => this.save(format) } })),
      element("a", { class: "button button-tiny", text: "CSV", "aria-label": `Points of ${info.title} as CSV`, download: `${info.name}.csv` }),
    ];
    this.saves.forEach((node) => (node.hidden = true));
    this.figure = element(
      "figure",
      { class: "card chart", "aria-labelledby": id, data: { plot: info.name } },
      element("figcaption", { class: "card-head" }, element("h2", { id, text: info.title }), ...this.choices, this.hint, element("span", { class: "plot-saves" }, ...this.saves)),
      element("div", { class: "plot" }, this.canvas, this.empty),
    );
    this.canvas.hidden = true;
  }

  changed() {
    this.stale = true;
    this.update();
  }

  async update() {
    if (!this.visible || !this.stale) return;
    this.stale = false;
    const query = this.#query();
    const asked = ++this.asked;
    try {
      const [plot, plotly] = await Promise.all([getJson(`${api}/plots/${this.info.name}${query}`), loadPlotly(root.dataset.plotly)]);
      // Another one may have been chosen meanwhile.
      if (asked !== this.asked) return;
      this.plotly = plotly;
      this.plot = plot;
      this.saves.at(-1).href = `${api}/plots/${this.info.name}/table${query}`;
      this.redraw();
    } catch (problem) {
      if (asked !== this.asked) return;
      this.say(problem.message);
      // No event brings the plots of a study that is over, or that nothing happens in.
      if (!isRefusal(problem)) setTimeout(() => asked === this.asked && this.changed(), RETRY_MILLISECONDS);
    }
  }

  redraw() {
    if (this.plot === null) return;
    const { data, note, summary } = this.plot;
    if (data.length === 0) return this.say(note);
    this.empty.hidden = true;
    this.canvas.hidden = false;
    this.saves.forEach((node) => (node.hidden = false));
    setText(this.hint, note);
    this.canvas.setAttribute("aria-label", summary);
    const { traces, layout } = drawn(this.plot, this.canvas);
    this.plotly.react(this.canvas, traces, layout, { displayModeBar: false, responsive: true });
  }

  say(sentence) {
    setText(this.empty, sentence);
    setText(this.hint, "");
    this.empty.hidden = false;
    this.canvas.hidden = true;
    this.saves.forEach((node) => (node.hidden = true));
  }

  async save(format) {
    const { traces, layout } = drawn(this.plot, PICTURE);
    const background = getComputedStyle(this.figure).backgroundColor;
    const figure = { data: traces, layout: { ...layout, title: { text: "" }, paper_bgcolor: background } };
    try {
      await this.plotly.downloadImage(figure, { format, width: PICTURE.clientWidth, height: PICTURE.clientHeight, scale: format === "png" ? 2 : 1, filename: `${root.dataset.study}-${this.info.name}` });
    } catch {
      notice(byId("problem"), `The browser could not make a picture of ${this.info.title}.`);
    }
  }

  #choice(name, at) {
    const { parameters } = this.info;
    const options = parameters.map((parameter) => element("option", { value: parameter, text: parameter }));
    const select = element("select", { class: "choice", "aria-label": `${this.info.title}: ${at === 0 ? "parameter" : "second parameter"}`, data: { name }, on: { change: () => this.changed() } }, ...options);
    if (parameters.length > at) select.value = parameters[at];
    return select;
  }

  #query() {
    const chosen = this.choices.filter((select) => select.value).map((select) => [select.dataset.name, select.value]);
    return chosen.length ? `?${new URLSearchParams(chosen)}` : "";
  }
}
