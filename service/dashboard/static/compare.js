// Two to six studies side by side.

import { getJson } from "./api.js";
import { Chart, color, label, loadPlotly, plain, scale, timeUnit } from "./charts.js";
import { described, differs, sideBySide } from "./compare_spec.js";
import { byId, element, notice, setBadge, setText } from "./dom.js";
import { amount, count, duration, estimate, measured, percent, sentence, setting } from "./format.js";
import { Feed, Redraw } from "./live.js";
import { firstGoal, isFinal } from "./study_state.js";

const KEYS = "ABCDEF";
const DASHES = ["solid", "dash", "dot", "dashdot", "longdash", "longdashdot"];
const NEWS_MILLISECONDS = 1500;

const root = byId("compare");
const items = [...byId("keys").children];
const sides = items.map((item, i) => ({ id: item.dataset.study, key: KEYS[i], item, study: null, progression: null, deleted: false }));
const redraw = new Redraw(draw);
const news = new Set();
let charts = null;
let newsTimer = 0;

const feed = new Feed({ load, apply, label: byId("connection") });
byId("only-different").addEventListener("change", drawSpecs);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawCharts);

async function load() {
  await Promise.all(sides.map(loadSide));
  redraw.now();
  if (sides.every((side) => side.deleted)) return feed.close();
  startCharts();
}

async function loadSide(side) {
  if (side.deleted) return;
  const api = `/v1/studies/${encodeURIComponent(side.id)}`;
  try {
    [side.study, side.progression] = await Promise.all([getJson(api), getJson(`${api}/progression`)]);
  } catch (problem) {
    if (problem.status !== 404) throw problem;
    side.deleted = true;
  }
}

async function startCharts() {
  if (charts !== null) return;
  try {
    const plotly = await loadPlotly(root.dataset.plotly);
    charts ??= ["trials", "seconds", "resource"].map((name) => new Chart(name, plotly));
    drawCharts();
  } catch (problem) {
    for (const name of ["trials", "seconds", "resource"]) setText(byId(`${name}-empty`), sentence(problem.message));
  }
}

function apply(event) {
  const side = sides.find(({ id }) => id === event.study);
  if (!side || side.study === null) return;
  if (event.kind === "study" && event.body.state === "deleted") {
    side.deleted = true;
    return redraw.request();
  }
  if (event.kind === "progress") {
    const { counts, progress, seconds_left, best } = event.body;
    const better = JSON.stringify(best) !== JSON.stringify(side.study.best);
    Object.assign(side.study, { counts, progress, seconds_left, best });
    redraw.request();
    if (!better) return;
  }
  news.add(side);
  newsTimer ||= setTimeout(update, NEWS_MILLISECONDS);
}

async function update() {
  newsTimer = 0;
  const changed = [...news];
  news.clear();
  // When this fails the connection is gone, and everything is fetched again once it is back.
  await feed.hold(() => Promise.all(changed.map(loadSide))).catch(() => null);
  redraw.request();
  drawCharts();
}

function draw() {
  if (sides.every((side) => side.study === null)) return notice(byId("problem"), "These studies were deleted.");
  const gone = sides.filter((side) => side.deleted).map((side) => side.key);
  notice(byId("problem"), gone.length ? `Study ${gone.join(" and ")} was deleted. What is shown is the last that was known of it.` : null);
  for (const { study, item } of sides) if (study) setBadge(item.querySelector(".badge"), study.state);
  drawUnlike();
  drawResults();
  drawBest();
  drawSpecs();
}

/** The studies that something is known of. */
const known = () => sides.filter((side) => side.study !== null);
const objectiveOf = (side) => firstGoal(side.study.spec.objectives);

function drawUnlike() {
  const aims = new Set(known().map((side) => `${objectiveOf(side).direction} ${objectiveOf(side).metric}`));
  const told = [...aims].join(", ");
  notice(byId("unlike"), aims.size > 1 ? `These studies have different first objectives (${told}): their values cannot be compared with each other.` : null);
}

function drawResults() {
  const sum = (study) => Object.values(study.counts).reduce((whole, trials) => whole + trials, 0);
  const rows = [
    ["state", (side) => (side.deleted ? "deleted" : side.study.state)],
    ["best value", (side) => valueText(side)],
    ["found by", ({ study }) => (study.best[0] ? `trial ${study.best[0].trial} at ${amount(study.best[0].resource)} ${study.spec.fidelity?.name ?? ""}` : "–")],
    ["progress", ({ study }) => percent(study.state === "completed" ? 1 : study.progress)],
    ["time left", ({ study }) => (study.state === "running" && study.seconds_left !== null ? estimate(study.seconds_left) : "–")],
    ["trials", ({ study }) => count(sum(study))],
    ["completed", ({ study }) => count(study.counts.completed ?? 0)],
    ["stopped early", ({ study }) => count(study.counts.stopped ?? 0)],
    ["failed", ({ study }) => count(study.counts.failed ?? 0)],
    ["active time", ({ study }) => duration(study.active_seconds)],
    ["time of all trials", ({ study }) => duration(study.cluster_seconds)],
    ["resource spent", ({ study, progression }) => `${amount(Number(progression.now.resource.toPrecision(4)))} ${study.spec.fidelity?.unit || progression.resource}`],
  ];
  fill(byId("results"), [["", rows.map(([name, text]) => [name, known().map(text)])]]);
  byId("results").setAttribute("aria-busy", "false");
}

function valueText(side) {
  const { metric, unit } = objectiveOf(side);
  const value = side.study.best[0]?.metrics[metric];
  if (value === undefined || value === null) return isFinal(side.study) ? "no value" : "no value yet";
  return `${measured(value)}${unit ? ` ${unit}` : ""}`;
}

function drawBest() {
  const configs = known().map((side) => side.study.best[0]?.config ?? null);
  const none = configs.every((config) => config === null);
  byId("best-none").hidden = !none;
  byId("best").hidden = none;
  const groups = configs.map((config) => [["", Object.entries(config ?? {}).map(([name, value]) => [name, setting(value)])]]);
  fill(byId("best"), sideBySide(groups));
}

function drawSpecs() {
  const only = byId("only-different").checked;
  const groups = sideBySide(known().map((side) => described(side.study.spec)))
    .map(([group, rows]) => [group, rows.filter(([, texts]) => (only ? differs(texts) : texts.some(Boolean)))])
    .filter(([, rows]) => rows.length > 0);
  byId("specs-same").hidden = groups.length > 0;
  byId("specs").hidden = groups.length === 0;
  fill(byId("specs"), groups);
}

/** Fill a table with groups of rows, one column for each study; values that differ within a row stand out. */
function fill(table, groups) {
  const text = JSON.stringify(groups);
  if (table.dataset.text === text) return;
  table.dataset.text = text;
  const heads = known().map(({ key, study, item }) =>
    element("th", { scope: "col", title: study.name }, element("span", { class: "key", text: key, data: { key: item.dataset.key } }), element("span", { class: "side-name", text: study.name })),
  );
  table.tHead.replaceChildren(element("tr", {}, element("td"), ...heads));
  table.tBodies[0].replaceChildren(...groups.flatMap(([group, rows]) => [...(group ? [groupRow(group, heads.length)] : []), ...rows.map(row)]));
}

function groupRow(group, columns) {
  return element("tr", { class: "group" }, element("th", { scope: "rowgroup", colspan: columns + 1, text: group }));
}

function row([name, texts]) {
  const cells = texts.map((text) => element("td", { text: text || "–", title: text }));
  return element("tr", { data: { differs: differs(texts) } }, element("th", { scope: "row", text: name, title: name }), ...cells);
}

function drawCharts() {
  if (charts === null) return;
  const drawn = known().filter((side) => side.progression.steps.some((step) => step.value !== null));
  const [trials, seconds, resource] = charts;
  if (drawn.length === 0) return charts.forEach((chart) => chart.say("No study has measured anything yet."));
  const unit = timeUnit(Math.max(...drawn.map((side) => side.progression.now.seconds)));
  const names = new Set(drawn.map((side) => side.study.spec.fidelity?.unit || side.progression.resource));
  drawChart(trials, drawn, "trials started", (spent) => spent.trials);
  drawChart(seconds, drawn, `active time (${unit.name})`, (spent) => spent.seconds / unit.seconds);
  drawChart(resource, drawn, `resource spent (${[...names].map(plain).join(", ")})`, (spent) => spent.resource);
}

function drawChart(chart, drawn, title, position) {
  const values = drawn.flatMap((side) => side.progression.steps.map((step) => step.value)).filter((value) => value !== null);
  const aims = new Set(drawn.map((side) => label(objectiveOf(side))));
  const axes = { x: { title, rangemode: "tozero" }, y: { title: aims.size === 1 ? [...aims][0] : "first objective of each", ...scale(values) } };
  const said = drawn.map((side) => `${side.key} ${valueText(side)}`).join(", ");
  chart.plot(drawn.map((side) => trace(side, position)), axes, `Best so far by ${title}: ${said}.`);
}

function trace({ key, progression, item }, position) {
  const steps = progression.steps.filter((step) => step.value !== null);
  const number = Number(item.dataset.key);
  return {
    x: [...steps, progression.now].map(position),
    y: [...steps, steps.at(-1)].map((step) => step.value),
    mode: steps.length > 60 ? "lines" : "lines+markers",
    line: { color: color(`--side-${number}`), width: 2, shape: "hv", dash: DASHES[number] },
    marker: { size: 5 },
    hovertemplate: `${key}: %{y:.4g} at %{x:.4~g}<extra></extra>`,
  };
}
