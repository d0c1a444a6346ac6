// The charts: Plotly, loaded after the page has drawn itself, in the colours of the page's style sheet.

import { byId, setText } from "./dom.js";
import { amount, duration, measured, setting } from "./format.js";

const MAX_IMPROVEMENTS = 400;
// From this ratio of largest to smallest value on, a logarithmic axis shows more.
const LOG_RATIO = 30;
const LADDER_RATIO = 9;
const NARROW = 640;
// Values of the first moments of a study that are left out of the picture where they would flatten all that follows.
const FIRST_MOMENTS = 0.02;
const FLATTENED = 4;
// Width of a character of an axis' title, in pixels.
const CHARACTER = 6.2;
// Width of a label of the horizontal axis with the room around it, in pixels.
const TICK = 110;
const COLORS = { rest: "--curve", running: "--curve-running", best: "--accent" };

let loading = null;
// Asking the style sheet makes the browser compute styles anew, so its answers are kept until the colours change.
const colors = new Map();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => colors.clear());

/** Plotly, once it is there. */
export function loadPlotly(url) {
  loading ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = url;
    script.onload = () => resolve(window.Plotly);
    script.onerror = () => {
      loading = null;
      reject(new Error("the charts' library could not be loaded; reload the page"));
    };
    document.head.append(script);
  });
  return loading;
}

/** One chart: a plot, or a sentence that says why there is none. */
export class Chart {
  constructor(name, plotly) {
    this.plotly = plotly;
    this.canvas = byId(`${name}-chart`);
    this.empty = byId(`${name}-empty`);
  }

  get narrow() {
    return this.canvas.parentElement.clientWidth < NARROW;
  }

  say(sentence) {
    this.empty.textContent = sentence;
    this.empty.hidden = false;
    this.canvas.hidden = true;
  }

  plot(traces, axes, summary) {
    this.empty.hidden = true;
    this.canvas.hidden = false;
    this.canvas.setAttribute("aria-label", summary);
    this.plotly.react(this.canvas, traces, layout(axes, this.canvas), { displayModeBar: false, responsive: true });
  }
}

export class BestChart extends Chart {
  constructor(plotly) {
    super("best", plotly);
  }

  draw(state, emptyText) {
    const { objective } = state;
    const found = bounded(state.improvements.filter((i) => Number.isFinite(i.best.metrics[objective.metric])));
    if (found.length === 0) return this.say(emptyText);
    const end = Math.max(state.activeSeconds, found.at(-1).seconds, 1);
    const unit = timeUnit(end);
    const seconds = found.map((i) => i.seconds);
    const values = found.map((i) => i.best.metrics[objective.metric]);
    const resource = plain(state.study.spec.fidelity?.name ?? "resource");
    const hover = found.map(
      (i, at) => `${measured(values[at])}<br>trial ${i.best.trial} at ${amount(i.best.resource)} ${resource}<br>after ${duration(i.seconds)}, ${i.trials} trials`,
    );
    const step = {
      x: [...seconds, end].map((s) => s / unit.seconds),
      y: [...values, values.at(-1)],
      mode: "lines",
      line: { color: color("--accent"), width: 2, shape: "hv" },
      hoverinfo: "skip",
    };
    const points = {
      x: seconds.map((s) => s / unit.seconds),
      y: values,
      mode: "markers",
      marker: { color: color("--accent"), size: found.length > 60 ? 4 : 6, line: { color: color("--surface"), width: 1 } },
      text: hover,
      hoverinfo: "text",
    };
    const late = settled(values, seconds, end);
    const axes = {
      x: { title: `active time (${unit.name})`, range: [0, (end * 1.02) / unit.seconds] },
      y: { title: label(objective), ...(late ? { type: "linear", range: padded(late) } : scale(values)) },
    };
    const left = values.length - (late ?? values).length;
    setText(byId("best-hint"), left ? `the first ${left} values, from ${measured(values[0])}, lie outside` : "");
    return this.plot([step, points], axes, `Best ${objective.metric} so far: ${measured(values.at(-1))}, found after ${duration(seconds.at(-1))}.`);
  }
}

export class CurvesChart extends Chart {
  constructor(plotly) {
    super("curves", plotly);
  }

  draw(state, emptyText) {
    const drawn = [...state.curves].filter(([, curve]) => curve.points.length > 0);
    if (drawn.length === 0) return this.say(emptyText);
    const best = new Set(state.study.best.map((entry) => entry.trial));
    const { objective } = state;
    const { fidelity } = state.study.spec;
    const groupOf = (number, curve) => (best.has(number) ? "best" : curve.state === "running" ? "running" : "rest");
    const groups = { rest: [], running: [], best: [] };
    // A curve of one point has no line, so it gets a marker.
    const dots = [];
    for (const [number, curve] of drawn) {
      if (curve.points.length === 1) dots.push([number, curve.points, groupOf(number, curve)]);
      else groups[groupOf(number, curve)].push([number, curve.points]);
    }
    const traces = [
      line(groups.rest, { color: color(COLORS.rest), width: 1 }, objective, fidelity),
      line(groups.running, { color: color(COLORS.running), width: 1.25 }, objective, fidelity),
      line(groups.best, { color: color(COLORS.best), width: 2.5 }, objective, fidelity),
    ];
    if (dots.length > 0) {
      const marked = dots.flatMap(([, , group]) => Array(2).fill(color(COLORS[group])));
      traces.push({ ...line(dots, { color: "", width: 0 }, objective, fidelity), mode: "markers", marker: { color: marked, size: 5 } });
    }
    const resources = drawn.flatMap(([, curve]) => curve.points.map((point) => point[0]));
    const values = drawn.flatMap(([, curve]) => curve.points.map((point) => point[1]));
    const axes = {
      x: { title: withUnit(fidelity?.name ?? state.curveResource, fidelity?.unit), ...resourceScale(resources) },
      y: { title: label(objective), ...scale(values) },
    };
    return this.plot(traces, axes, `Learning curves of ${drawn.length} trials: ${objective.metric} by ${fidelity?.name}.`);
  }
}

/** All curves of a group as one trace with gaps between them: one path in the page instead of hundreds. */
function line(curves, style, objective, fidelity) {
  const x = [];
  const y = [];
  const trial = [];
  for (const [number, points] of curves) {
    for (const [resource, value] of points) {
      x.push(resource);
      y.push(value);
      trial.push(number);
    }
    x.push(null);
    y.push(null);
    trial.push(null);
  }
  return {
    x,
    y,
    customdata: trial,
    mode: "lines",
    line: style,
    connectgaps: false,
    hovertemplate: `${plain(objective.metric)} %{y:.4g}<br>trial %{customdata} at %{x} ${plain(fidelity?.name ?? "")}<extra></extra>`,
  };
}

/** The best values without those of the first moments, if these would flatten the others; null if not. */
function settled(values, seconds, end) {
  const moment = seconds[0] + FIRST_MOMENTS * (end - seconds[0]);
  const late = values.slice(seconds.findLastIndex((second) => second <= moment));
  const [low, high] = extent(late);
  const [lowest, highest] = extent(values);
  return high > low && highest - lowest > FLATTENED * (high - low) ? late : null;
}

function padded(values) {
  const [low, high] = extent(values);
  const margin = 0.08 * (high - low);
  return [low - margin, high + margin];
}

function bounded(improvements) {
  if (improvements.length <= MAX_IMPROVEMENTS) return improvements;
  const step = (improvements.length - 1) / (MAX_IMPROVEMENTS - 1);
  return Array.from({ length: MAX_IMPROVEMENTS }, (_, i) => improvements[Math.round(i * step)]);
}

export function timeUnit(seconds) {
  if (seconds >= 2 * 86400) return { name: "days", seconds: 86400 };
  if (seconds >= 2 * 3600) return { name: "h", seconds: 3600 };
  if (seconds >= 180) return { name: "min", seconds: 60 };
  return { name: "s", seconds: 1 };
}

function extent(values) {
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return [low, high];
}

export function scale(values) {
  const [low, high] = extent(values);
  if (low > 0 && high / low >= LOG_RATIO) return { type: "log", ...logTicks(low, high) };
  // A flat line sits in the middle of a range that is not absurdly narrow.
  return { type: "linear", ...(high - low <= Math.abs(high) * 1e-9 && { range: flat(high) }) };
}

/** Rungs grow by a factor, so already a short ladder reads better on a logarithmic axis. */
export function resourceScale(resources) {
  const [low, high] = extent(resources);
  if (low > 0 && high / low >= LADDER_RATIO) {
    const [first, last] = [Math.log10(low), Math.log10(high)];
    const margin = (last - first) * 0.03;
    return { type: "log", range: [first - margin, last + margin], ...logTicks(low, high) };
  }
  return { type: "linear", range: [0, high * 1.04] };
}

/** Ticks at 1, 2, 5, 10, ... with their full numbers; over many decades at powers of ten alone. */
function logTicks(low, high) {
  const first = Math.floor(Math.log10(low));
  const last = Math.ceil(Math.log10(high));
  const decades = last - first;
  const steps = decades <= 3 ? [1, 2, 5] : [1];
  const stride = Math.max(1, Math.ceil(decades / 8));
  const tickvals = [];
  for (let power = first; power <= last; power += stride) {
    for (const step of steps) tickvals.push(Number(`${step}e${power}`));
  }
  return { tickmode: "array", tickvals, ticktext: tickvals.map(setting) };
}

function flat(value) {
  const margin = Math.abs(value) * 0.05 || 0.5;
  return [value - margin, value + margin];
}

export function label(objective) {
  const better = objective.direction === "maximize" ? "higher is better" : "lower is better";
  return `${withUnit(objective.metric, objective.unit)} · ${better}`;
}

export function withUnit(name, unit) {
  return unit ? `${plain(name)} (${plain(unit)})` : plain(name);
}

/**
 * Plotly reads a little HTML in texts, and %{…} in templates; names are only ever text.
 *
 * Of its HTML only <br> is used here: the other tags set style attributes, which the Content-Security-Policy forbids.
 */
export function plain(text) {
  return String(text).replace(/[&<>{}]/g, (character) => `&#${character.charCodeAt(0)};`);
}

export function color(name) {
  if (!colors.has(name)) colors.set(name, getComputedStyle(document.documentElement).getPropertyValue(name).trim());
  return colors.get(name);
}

/** Traces and layout of a plot that the server made; its texts are safe already. */
export function drawn({ data, x, y }, box) {
  const named = data.filter((trace) => trace.name);
  const made = layout({ x, y }, box);
  const legend = named.length > 1 && { showlegend: true, legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0, font: { size: 12 } } };
  const margin = { ...made.margin, t: legend ? 34 : 8 };
  return { traces: data.map((trace) => ({ showlegend: Boolean(trace.name), ...trace })), layout: { ...made, ...legend, margin, barmode: "stack", bargap: 0.25 } };
}

/** A title on two lines where one has no room. */
function fitting(title, room) {
  return CHARACTER * title.length > 0.8 * room ? title.replace(" · ", "<br>") : title;
}

function layout({ x, y }, { clientWidth: width, clientHeight: height }) {
  const text = color("--muted");
  const axis = {
    gridcolor: color("--grid"),
    linecolor: color("--border"),
    zeroline: false,
    tickfont: { size: 11.5, color: text },
    automargin: true,
    // Powers would be drawn with <sup>; see plain().
    exponentformat: "e",
    fixedrange: width < NARROW,
  };
  const titled = (title, room) => title && ({ text: fitting(title, room), font: { size: 12, color: text }, standoff: 8 });
  return {
    // More labels would touch in a narrow chart.
    xaxis: { ...axis, ...x, ...(width < NARROW && { nticks: Math.min(Math.floor(width / TICK), x.nticks ?? Infinity) }), title: titled(x.title, width), showline: true },
    yaxis: { ...axis, ...y, title: titled(y.title, height) },
    font: { family: getComputedStyle(document.body).fontFamily, color: color("--text") },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    margin: { l: 44, r: 12, t: 8, b: 32 },
    showlegend: false,
    hovermode: "closest",
    dragmode: width < NARROW ? false : "zoom",
    hoverlabel: { bgcolor: color("--surface"), bordercolor: color("--border-strong"), font: { color: color("--text"), size: 12.5 }, align: "left" },
    // Keeps a zoom over live updates.
    uirevision: "keep",
  };
}
