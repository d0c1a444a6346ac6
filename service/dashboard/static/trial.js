// The page of one trial.

import { getJson } from "./api.js";
import { Chart, color, label, loadPlotly, plain, resourceScale, scale, withUnit } from "./charts.js";
import { copies } from "./copying.js";
import { byId, element, notice, setBadge, setText } from "./dom.js";
import { amount, count, duration, measured, moment, sentence } from "./format.js";
import { Feed } from "./live.js";
import { firstGoal } from "./study_state.js";
import { configuration, jobs } from "./trial_table.js";
import { TrialLog } from "./trial_log.js";
import { figures, leg, reason } from "./trial_words.js";

const NEWS_MILLISECONDS = 1000;

const root = byId("trial");
const { trial: id, study: studyId } = root.dataset;
const api = `/v1/trials/${encodeURIComponent(id)}`;
const log = new TrialLog(`${api}/log`);
let trial = null;
let study = null;
let curve = null;
let chart = null;
let newsTimer = 0;

const feed = new Feed({ study: studyId, load, apply, label: byId("connection") });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawCurve);
byId("metric").addEventListener("change", () => loadCurve().catch((problem) => notice(byId("problem"), problem.message)));
copies(byId("copy"), () => JSON.stringify(trial?.config ?? {}, null, 2));

async function load() {
  try {
    const [found, ofStudy, lineage] = await Promise.all([getJson(api), getJson(`/v1/studies/${encodeURIComponent(studyId)}`), getJson(`${api}/lineage`)]);
    if (trial !== null && trial.state !== found.state) setText(byId("announce"), `Trial is ${found.state}`);
    [trial, study] = [found, ofStudy];
    draw(lineage);
    await Promise.all([loadCurve(), log.follow()]);
  } catch (problem) {
    if (problem.status !== 404) throw problem;
    deleted();
    return;
  }
  notice(byId("problem"), null);
}

function apply(event) {
  const { kind, body } = event;
  if (kind === "study" && body.state === "deleted") return deleted();
  const own = (list, at) => list.some((entry) => entry[at] === trial.number);
  if (kind === "progress") {
    // Other trials may take its place as the best, and come after it.
    const { counts, best } = body;
    Object.assign(study, { counts, best });
    drawHead();
  }
  if (kind === "progress" && !own(body.jobs, "trial") && !own(body.reports, 0) && !own(body.ended, "trial")) return;
  newsTimer ||= setTimeout(() => {
    newsTimer = 0;
    feed.reload();
  }, NEWS_MILLISECONDS);
}

function deleted() {
  feed.close();
  notice(byId("problem"), "This trial was deleted with its study. What is shown is the last that was known of it.");
}

async function loadCurve() {
  offerMetrics();
  const metric = byId("metric").value;
  const found = await getJson(`${api}/curve${metric ? `?${new URLSearchParams({ metric })}` : ""}`);
  // Another one was chosen meanwhile: its own curve is on the way.
  if (byId("metric").value !== metric) return;
  curve = found;
  try {
    chart ??= new Chart("curve", await loadPlotly(root.dataset.plotly));
  } catch (problem) {
    return setText(byId("curve-empty"), sentence(problem.message));
  }
  drawCurve();
}

/** What can be drawn: the objectives, and whatever else the trial has measured. */
function offerMetrics() {
  const names = [...new Set([...study.spec.objectives.map((objective) => objective.metric), ...Object.keys(trial.metrics)])];
  const select = byId("metric");
  select.hidden = names.length < 2;
  if (select.dataset.names === names.join("\n")) return;
  select.dataset.names = names.join("\n");
  const chosen = select.value || firstGoal(study.spec.objectives).metric;
  select.replaceChildren(...names.map((name) => element("option", { value: name, text: name })));
  select.value = chosen;
}

function drawCurve() {
  if (chart === null || curve === null) return;
  const { points, median, finished, metric } = curve;
  setText(byId("curve-hint"), median.length ? `of ${count(finished)} completed trials` : "no other trial has completed yet");
  if (points.length === 0) return chart.say(trial.state === "running" ? "No report yet: the first one comes when the trial has measured something." : "This trial has measured no number of this.");
  const { fidelity, objectives } = study.spec;
  const objective = objectives.find((each) => each.metric === metric);
  const traces = [line(median, { color: color("--muted"), width: 1.5, dash: "dash" }, "median"), line(points, { color: color("--accent"), width: 2.5 }, `trial ${trial.number}`)];
  const all = [...points, ...median];
  const axes = {
    x: { title: withUnit(curve.resource, fidelity?.unit), ...resourceScale(all.map((point) => point[0])) },
    y: { title: objective ? label(objective) : plain(metric), ...scale(all.map((point) => point[1])) },
  };
  chart.plot(traces, axes, `${metric} of trial ${trial.number} by ${curve.resource}: ${measured(points.at(-1)[1])} at ${amount(points.at(-1)[0])}.`);
}

function line(points, style, name) {
  return {
    x: points.map((point) => point[0]),
    y: points.map((point) => point[1]),
    // A curve of one point has no line.
    mode: points.length > 1 ? "lines" : "markers",
    line: style,
    marker: { color: style.color, size: 7 },
    hovertemplate: `${name}: %{y:.4g} at %{x}<extra></extra>`,
  };
}

function draw(lineage) {
  drawHead();
  drawFigures();
  drawOnce(byId("config"), trial.config, () => configuration(trial.config));
  drawOnce(byId("why"), trial.jobs.map(({ number, why, parent }) => [number, why, parent]), () => trial.jobs.map(reasonItem));
  drawOnce(byId("jobs"), trial.jobs, () => [trial.jobs.length ? jobs(trial.jobs) : element("p", { class: "hint", text: "No job of it has been started." })]);
  drawLineage(lineage);
  drawTraceback();
}

/** Fill a node when what it shows has changed, so that selections and whoever stands there are left alone. */
function drawOnce(node, shown, make) {
  const text = JSON.stringify(shown);
  if (node.dataset.text === text) return;
  node.dataset.text = text;
  node.replaceChildren(...make());
}

function drawHead() {
  setBadge(byId("state"), trial.state);
  const rung = trial.rung === null ? "" : `rung ${trial.rung}`;
  const bracket = trial.bracket === null ? "" : `bracket ${trial.bracket}`;
  setText(byId("place"), [rung, bracket].filter(Boolean).join(", "));
  setText(byId("when"), trial.ended_at ? `ended ${moment(trial.ended_at)}` : `started ${moment(trial.started_at)}`);
  const best = study.best.some((entry) => entry.trial === trial.number);
  setText(byId("is-best"), best ? (study.best.length > 1 ? "on the Pareto front" : "the best so far") : "");
  notice(byId("failure"), trial.problem);
  notice(byId("notes"), trial.notes);
  const started = Object.values(study.counts).reduce((sum, trials) => sum + trials, 0);
  byId("next").hidden = trial.number + 1 >= started;
}

function drawFigures() {
  const { fidelity, objectives } = study.spec;
  const shown = objectives.slice(0, 2).map(({ metric, unit, bound, direction }) => [
    metric,
    measured(trial.metrics[metric]) + (unit && trial.metrics[metric] != null ? ` ${unit}` : ""),
    bound == null ? "" : `at ${direction === "maximize" ? "least" : "most"} ${measured(bound)}`,
  ]);
  const attempts = trial.jobs.reduce((sum, job) => sum + job.attempts, 0);
  const worker = trial.jobs.findLast((job) => job.worker)?.worker;
  const cells = [
    ...shown,
    [fidelity?.name ?? "resource", trial.resource ? amount(trial.resource) : "–", fidelity ? `of ${amount(fidelity.max)}${fidelity.unit ? ` ${fidelity.unit}` : ""}` : ""],
    ["Time spent", trial.seconds ? duration(trial.seconds) : "–", `${count(trial.jobs.length)} ${trial.jobs.length === 1 ? "job" : "jobs"}, ${count(attempts)} ${attempts === 1 ? "attempt" : "attempts"}`],
    ["Worker", worker ?? "–", worker ? "the last one" : "none yet"],
  ];
  drawOnce(byId("figures"), cells, () =>
    cells.map(([name, value, note]) =>
      element("div", {}, element("dt", { text: name, title: name }), element("dd", { class: "figure figure-text", text: value, title: value }), element("dd", { class: "note", text: note })),
    ),
  );
}

function reasonItem(job) {
  const numbers = figures(job).map(([name, value]) => element("div", {}, element("dt", { text: name }), element("dd", { text: value, title: value })));
  return element(
    "li",
    {},
    element("p", { class: "hint", text: leg(job, study.spec.fidelity?.name ?? "") }),
    element("p", { text: reason(job) }),
    numbers.length ? element("dl", { class: "config numbers" }, ...numbers) : null,
  );
}

function drawLineage(lineage) {
  const { ancestors, descendants, states } = lineage;
  const resource = study.spec.fidelity?.name ?? "";
  drawOnce(byId("lineage"), lineage, () => [
    fact("Comes from", ancestors.length ? [element("ol", { class: "chain" }, ...ancestors.map((kin) => kinItem(kin, resource)))] : ["no other trial"]),
    fact("Led to", descendants.length ? [element("ul", { class: "chain" }, ...descendants.map((kin) => kinItem(kin, resource)))] : ["no other trial"]),
    fact("Saved states", savedStates(states, resource)),
  ]);
}

function savedStates(states, resource) {
  if (states === null) return ["cannot be looked at now"];
  if (!states.length) return ["none is kept"];
  const items = states.map((at) =>
    element("li", {}, element("a", { href: `${api}/checkpoint?resource=${at}`, download: "", text: `${amount(at)} ${resource}` })),
  );
  return [element("ul", { class: "chain" }, ...items)];
}

function fact(name, parts) {
  return element("div", {}, element("dt", { text: name }), element("dd", {}, ...parts));
}

function kinItem({ id: kin, number, how, resource: at }, resource) {
  const text = how === "retry" ? " (the same settings again)" : ` (a changed copy at ${amount(at)} ${resource})`;
  return element("li", {}, element("a", { href: `/trials/${encodeURIComponent(kin)}`, text: `trial ${number}` }), text);
}

function drawTraceback() {
  const failed = trial.jobs.findLast((job) => job.traceback);
  byId("traceback-card").hidden = !failed;
  if (!failed) return;
  setText(byId("traceback-hint"), `of job ${failed.number}`);
  setText(byId("traceback"), failed.traceback);
}
