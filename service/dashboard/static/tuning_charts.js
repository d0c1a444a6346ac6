// The charts of a tuning session: performance against what the former settings would do, and knobs over time.

import { Chart, color, plain, scale, withUnit } from "./charts.js";
import { byId } from "./dom.js";
import { duration } from "./format.js";
import { changes, changeText, gain, improvement, objectiveText, performanceText, verdict, verdictText } from "./tuning_words.js";
import { changedBy, reasons } from "./tuning_reasons.js";

const MARKS = {
  safe: { symbol: "circle", name: "--accent", size: 6 },
  unsafe: { symbol: "triangle-down", name: "--bad", size: 11 },
  aborted: { symbol: "x", name: "--bad", size: 10 },
};
// Who changed a knob; the legend of the page has the same signs.
const REASONS = {
  model: { symbol: "diamond", name: "--accent" },
  rule: { symbol: "square", name: "--good" },
  back: { symbol: "triangle-left", name: "--bad" },
};
// Lanes that can be told apart; the table has all knobs.
export const MAX_LANES = 14;
const LANE_PIXELS = 26;
const FRAME_PIXELS = 64;

export class PerformanceChart extends Chart {
  constructor(plotly) {
    super("performance", plotly);
  }

  draw(state, emptyText) {
    const { session } = state;
    const story = state.story();
    const judged = story.filter(({ interval }) => interval.performance !== null && !interval.skipped);
    if (judged.length === 0) return this.say(emptyText);
    const x = story.map(({ interval }) => local(interval.at));
    const of = (field) => story.map(({ interval }) => (interval.skipped ? null : interval[field]));
    const traces = [
      line(x, of("bound"), { color: color("--bad"), width: 1, dash: "dot" }),
      line(x, of("expected"), { color: color("--muted"), width: 1.5, dash: "dash" }),
      line(x, of("performance"), { color: color("--accent"), width: 1.25 }),
      ...Object.keys(MARKS).map((name) => this.#marks(judged.filter(({ interval }) => mark(interval) === name), MARKS[name], session)),
    ];
    const values = judged.flatMap(({ interval }) => [interval.performance, interval.expected, interval.bound]).filter((value) => value > 0);
    const better = session.maximize ? "higher is better" : "lower is better";
    const axes = {
      x: span(story),
      y: { title: `${withUnit(objectiveText(session.objective), session.unit)} · ${better}`, ...scale(values) },
    };
    const unsafe = judged.filter(({ interval }) => interval.unsafe).length;
    const last = judged.at(-1).interval;
    return this.plot(traces, axes, `Performance of ${judged.length} intervals, ${unsafe} of them unsafe; the last: ${performanceText(last.performance, session.unit)}.`);
  }

  #marks(points, { symbol, name, size }, session) {
    return {
      x: points.map(({ interval }) => local(interval.at)),
      y: points.map(({ interval }) => interval.performance),
      mode: "markers",
      marker: { symbol, size, color: color(name), line: { color: color("--surface"), width: 1 } },
      text: points.map((point) => hover(point, session)),
      hoverinfo: "text",
    };
  }
}

export class TimelineChart extends Chart {
  constructor(plotly) {
    super("timeline", plotly);
  }

  /** Says how many lanes there are, and how many knobs changed. */
  draw(state, emptyText) {
    const { session, former } = state;
    const story = state.story().filter(({ interval }) => !interval.skipped);
    const knobs = turned(story, former);
    if (knobs.length === 0) {
      this.say(emptyText);
      return { shown: 0, turned: 0 };
    }
    const lanes = knobs.slice(0, MAX_LANES).reverse();
    fitLanes(byId("timeline-plot"), lanes);
    const traces = [...stretches(story, former, lanes), ...Object.keys(REASONS).map((reason) => this.#marks(state, story, lanes, reason))];
    // On a phone the names of knobs take half of the width.
    const axes = { x: { ...span(state.story()), ...(this.narrow && { nticks: 2 }) }, y: laneAxis(lanes) };
    this.plot(traces, axes, `${knobs.length} knobs were turned: ${knobs.join(", ")}.`);
    return { shown: lanes.length, turned: knobs.length };
  }

  /** Changes for one reason: where an interval began with another value, and where settings were put back between two. */
  #marks(state, story, lanes, reason) {
    const { session } = state;
    const points = { x: [], y: [], text: [] };
    const add = (at, change, words) => {
      points.x.push(at);
      points.y.push(lanes.indexOf(change[0]));
      points.text.push([changeText(change, session.knobs), words].filter(Boolean).map(plain).join("<br>"));
    };
    const shown = ([name]) => lanes.includes(name);
    story.forEach(({ interval, before, after }, i) => {
      for (const change of changes(before, after).filter(shown)) {
        if (changedBy(change, story, i) === reason) add(began(interval), change, reasons(interval));
      }
    });
    if (reason === "back") {
      for (const { at, text, stood, settings } of state.restored(story)) changes(stood, settings).filter(shown).forEach((change) => add(local(at), change, text));
    }
    const { symbol, name } = REASONS[reason];
    return { ...points, mode: "markers", marker: { symbol, size: 10, color: color(name), line: { color: color("--surface"), width: 1.5 } }, hoverinfo: "text" };
  }
}

/** Lines of the lanes: thin where a knob stands as before the session, thick where it does not. */
function stretches(story, former, lanes) {
  const ends = story.map(({ interval }) => local(interval.at));
  const same = { x: [], y: [] };
  const changed = { x: [], y: [] };
  lanes.forEach((name, lane) => {
    story.forEach(({ interval, after }, i) => {
      const piece = after[name] === former[name] ? same : changed;
      piece.x.push(i === 0 ? began(interval) : ends[i - 1], ends[i], null);
      piece.y.push(lane, lane, null);
    });
  });
  return [line(same.x, same.y, { color: color("--curve"), width: 2 }), line(changed.x, changed.y, { color: color("--accent"), width: 5 })];
}

/** Makes a plot as high as its lanes need. */
export function fitLanes(plot, lanes) {
  plot.style.height = `${FRAME_PIXELS + LANE_PIXELS * lanes.length}px`;
}

/** The axis of lanes, one for each knob, the first at the bottom. */
export function laneAxis(lanes) {
  return { title: "", tickmode: "array", tickvals: lanes.map((_, lane) => lane), ticktext: lanes.map(plain), range: [-0.7, lanes.length - 0.3], fixedrange: true, showgrid: false };
}

/** One axis for all charts over time, so that they can be compared. */
export function span(story) {
  const first = Date.parse(story[0].interval.at) - 1000 * story[0].interval.seconds;
  const last = Date.parse(story.at(-1).interval.at);
  // The last mark is drawn whole.
  const end = last + 0.01 * (last - first);
  return { title: "", type: "date", range: [stamp(new Date(first)), stamp(new Date(end))], nticks: 7, tickangle: 0 };
}

/** Knobs that stood at something else than before, those longest changed first. */
function turned(story, former) {
  const times = new Map();
  for (const { after } of story) for (const [name] of changes(former, after)) times.set(name, (times.get(name) ?? 0) + 1);
  return [...times].sort((a, b) => b[1] - a[1] || a[0].localeCompare(b[0])).map(([name]) => name);
}

function mark(interval) {
  const found = verdict(interval);
  return found in MARKS ? found : "safe";
}

function hover({ interval, before, after }, session) {
  const against = improvement(interval, session.maximize);
  const changed = changes(before, after).map((change) => plain(changeText(change, session.knobs)));
  return [
    plain(performanceText(interval.performance, session.unit)) + (against === null ? "" : ` (${gain(against)})`),
    plain(verdictText(interval, session.mode)),
    ...changed.slice(0, 8),
    ...(changed.length > 8 ? [`and ${changed.length - 8} more`] : []),
    `over ${duration(interval.seconds)}`,
  ].join("<br>");
}

export function line(x, y, style) {
  return { x, y, mode: "lines", line: style, connectgaps: false, hoverinfo: "skip" };
}

/** A moment in the reader's own time zone, as Plotly's date axes take it. */
export function local(iso) {
  return stamp(new Date(iso));
}

function began(interval) {
  return stamp(new Date(Date.parse(interval.at) - 1000 * interval.seconds));
}

function stamp(moment) {
  const pad = (number, digits = 2) => String(number).padStart(digits, "0");
  const day = `${moment.getFullYear()}-${pad(moment.getMonth() + 1)}-${pad(moment.getDate())}`;
  return `${day} ${pad(moment.getHours())}:${pad(moment.getMinutes())}:${pad(moment.getSeconds())}.${pad(moment.getMilliseconds(), 3)}`;
}
