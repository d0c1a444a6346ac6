// The charts of what a database goes through, and of what was safe there.

import { Chart, color, plain } from "./charts.js";
import { byId, element, setText } from "./dom.js";
import { measured } from "./format.js";
import { fitLanes, laneAxis, line, local, MAX_LANES, span } from "./tuning_charts.js";
import { clusterNow, isChoice, place, regions } from "./tuning_region.js";
import { knobValue } from "./tuning_words.js";

// Clusters are told apart by shape as well as by colour; from the seventh on the signs come again.
const SIGNS = [
  { sign: "●", symbol: "circle", name: "--accent" },
  { sign: "■", symbol: "square", name: "--good" },
  { sign: "▲", symbol: "triangle-up", name: "--warn" },
  { sign: "◆", symbol: "diamond", name: "--bad" },
  { sign: "✚", symbol: "cross", name: "--muted" },
  { sign: "★", symbol: "star", name: "--curve-running" },
];

export class ContextChart extends Chart {
  #choice = byId("context-feature");
  #legend = byId("context-legend");

  constructor(plotly, redraw) {
    super("context", plotly);
    this.#choice.addEventListener("change", redraw);
  }

  /** Says how many clusters there are. */
  draw(state, emptyText) {
    const { features } = state.session;
    this.#offer(features);
    const told = state.story().filter(({ interval }) => interval.context.length > 0);
    if (told.length === 0) {
      this.say(emptyText);
      return { clusters: 0 };
    }
    const feature = Math.max(0, features.indexOf(this.#choice.value));
    const clusters = [...new Set(told.map(({ interval }) => interval.cluster ?? 0))].sort((a, b) => a - b);
    this.#explain(clusters);
    const x = told.map(({ interval }) => local(interval.at));
    const y = told.map(({ interval }) => interval.context[feature]);
    const traces = [line(x, y, { color: color("--curve"), width: 1 }), ...clusters.map((cluster) => marks(told, cluster, feature, features[feature]))];
    const name = features[feature] ?? "context";
    this.plot(traces, { x: span(state.story()), y: { title: plain(name) } }, `${name} over ${told.length} intervals, in ${clusters.length} clusters of contexts; the last: ${measured(y.at(-1))}.`);
    return { clusters: clusters.length, now: clusterNow(state.intervals) };
  }

  #offer(features) {
    const known = features.join("\n");
    if (this.#choice.dataset.known === known) return;
    this.#choice.dataset.known = known;
    this.#choice.replaceChildren(...features.map((name) => element("option", { value: name, text: name })));
    this.#choice.hidden = features.length < 2;
  }

  #explain(clusters) {
    const text = clusters.join();
    if (this.#legend.dataset.text === text) return;
    this.#legend.dataset.text = text;
    this.#legend.replaceChildren(...clusters.map((cluster) => element("li", { data: { cluster: cluster % SIGNS.length }, text: `${signOf(cluster).sign} cluster ${cluster}` })));
  }
}

/** Range of each knob that was measured safe, within what it may be. */
export class RegionChart extends Chart {
  constructor(plotly) {
    super("region", plotly);
  }

  /** Says how many lanes there are, and how many knobs were tried at more than one value. */
  draw(state, emptyText) {
    const { session, former, now } = state;
    const found = regions(state, clusterNow(state.intervals));
    const knobOf = (name) => session.knobs[name] ?? {};
    const width = (name) => place(found[name].safe.at(-1), knobOf(name)) - place(found[name].safe[0], knobOf(name));
    const tried = Object.keys(found).filter((name) => knobOf(name).type && found[name].safe.length + found[name].unsafe.length > 1);
    if (tried.length === 0) {
      this.say(emptyText);
      return { shown: 0, tried: 0 };
    }
    tried.sort((a, b) => (width(b) || 0) - (width(a) || 0) || a.localeCompare(b));
    const lanes = tried.slice(0, MAX_LANES).reverse();
    fitLanes(byId("region-plot"), lanes);
    const at = (name, value) => 100 * place(value, knobOf(name));
    const bar = (ends) => ({ x: lanes.flatMap((name) => [...ends(name), null]), y: lanes.flatMap((_, lane) => [lane, lane, null]) });
    const safeEnds = (name) => [found[name].safe[0], found[name].safe.at(-1)].map((value) => (value === undefined ? null : at(name, value)));
    const whole = bar(() => [0, 100]);
    const safe = bar(safeEnds);
    const points = (values, words, marker) => {
      const all = lanes.flatMap((name, lane) => values(name).map((value) => [at(name, value), lane, plain(`${name} ${knobValue(value)} ${knobOf(name).unit ?? ""}: ${words}`)]));
      return { x: all.map(([x]) => x), y: all.map(([, y]) => y), text: all.map(([, , text]) => text), mode: "markers", marker, hoverinfo: "text" };
    };
    const traces = [
      line(whole.x, whole.y, { color: color("--curve"), width: 1 }),
      line(safe.x, safe.y, { color: color("--good"), width: 8 }),
      points((name) => (isChoice(knobOf(name)) ? found[name].safe : [found[name].safe[0], found[name].safe.at(-1)].filter((value) => value !== undefined)), "measured safe", { symbol: "square", size: 8, color: color("--good") }),
      points((name) => [former[name]], "before the session", { symbol: "circle-open", size: 11, color: color("--text") }),
      points((name) => [now[name]], "now", { symbol: "diamond", size: 10, color: color("--accent"), line: { color: color("--surface"), width: 1.5 } }),
      points((name) => found[name].unsafe, "part of unsafe settings", { symbol: "x", size: 8, color: color("--bad") }),
    ];
    const axes = { x: { title: "of what the knob may be (%)", range: [-2, 102] }, y: laneAxis(lanes) };
    this.plot(traces, axes, `What was measured safe of ${lanes.length} knobs; the table of settings has the values.`);
    return { shown: lanes.length, tried: tried.length };
  }
}

export function sayClusters(node, { clusters, now }) {
  setText(node, clusters > 1 ? `${clusters} clusters; now in cluster ${now}` : clusters === 1 ? "one cluster so far" : "");
}

function marks(told, cluster, feature, name) {
  const members = told.filter(({ interval }) => (interval.cluster ?? 0) === cluster);
  const { symbol, name: tint } = signOf(cluster);
  return {
    x: members.map(({ interval }) => local(interval.at)),
    y: members.map(({ interval }) => interval.context[feature]),
    mode: "markers",
    marker: { symbol, size: 7, color: color(tint), line: { color: color("--surface"), width: 1 } },
    text: members.map(({ interval }) => plain(`${name} ${measured(interval.context[feature])}, cluster ${cluster}`)),
    hoverinfo: "text",
  };
}

function signOf(cluster) {
  return SIGNS[cluster % SIGNS.length];
}
