// The page of one study.

import { getJson } from "./api.js";
import { BestChart, CurvesChart, loadPlotly } from "./charts.js";
import { byId, element, notice, setBadge, setBar, setFigures, setTags, setText } from "./dom.js";
import { Findings } from "./findings.js";
import { amount, count, duration, estimate, measured, moment, percent, sentence } from "./format.js";
import { Feed, Redraw } from "./live.js";
import { isFinal, StudyState } from "./study_state.js";
import { Steering } from "./study_steer.js";
import { configuration, TrialTable } from "./trial_table.js";

const IMPROVEMENTS_MILLISECONDS = 1000;
// The line of the best value grows with the clock; this often is often enough.
const BEST_MILLISECONDS = 5000;
const TRIAL_STATES = ["running", "waiting", "completed", "stopped", "failed", "cancelled"];

const root = byId("study");
const api = `/v1/studies/${encodeURIComponent(root.dataset.study)}`;
const state = new StudyState();
const table = new TrialTable(state, () => feed);
const findings = new Findings(byId("findings"), `${api}/diagnosis`);
const changed = new Set();
const stale = { best: true, curves: true };
const redraw = new Redraw(draw);
const steering = new Steering(api, state, () => feed, () => redraw.now());
let charts = null;
let chartsProblem = null;
let improvementsTimer = 0;
let bestDrawnAt = 0;

const feed = new Feed({ study: root.dataset.study, load, apply, label: byId("connection") });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redrawCharts);
// While a study runs its clock goes on, also between events.
setInterval(() => state.study?.state === "running" && redraw.request(), 1000);

async function load() {
  try {
    state.setStudy(await getJson(api));
    const [improvements, curves] = await Promise.all([
      getJson(`${api}/improvements`),
      state.study.spec.fidelity ? getJson(`${api}/curves?${new URLSearchParams({ metric: state.objective.metric })}`) : { curves: [], total: 0, resource: "" },
      table.reload(),
    ]);
    state.setImprovements(improvements);
    state.setCurves(curves);
    stale.best = stale.curves = true;
  } catch (problem) {
    if (problem.status !== 404) throw problem;
    deleted();
    return;
  }
  redraw.now();
  startCharts();
}

/** Plotly is large: it is loaded once the rest of the page stands. */
async function startCharts() {
  if (charts !== null) return;
  try {
    const plotly = await loadPlotly(root.dataset.plotly);
    charts ??= { best: new BestChart(plotly), curves: new CurvesChart(plotly) };
    chartsProblem = null;
  } catch (problem) {
    chartsProblem = problem.message;
  }
  stale.best = stale.curves = true;
  redraw.now();
}

function apply(event) {
  if (event.kind === "study") {
    if (event.body.state === "deleted") deleted();
    else feed.reload();
    return;
  }
  const effect = state.apply(event);
  effect.changed.forEach((number) => changed.add(number));
  if (effect.changed.size > 0 || event.body.reports.length > 0) stale.curves = true;
  if (state.improvements.length === 0) stale.best = true;
  if (effect.improved) fetchImprovements();
  redraw.request();
}

/** The incumbent changed: the list of improvements is short and knows the active time exactly. */
function fetchImprovements() {
  if (improvementsTimer) return;
  improvementsTimer = setTimeout(async () => {
    improvementsTimer = 0;
    try {
      await feed.hold(async () => state.setImprovements(await getJson(`${api}/improvements`)));
      stale.best = true;
      redraw.request();
    } catch {
      // The connection is gone, which the feed shows; everything is fetched again once it is back.
    }
  }, IMPROVEMENTS_MILLISECONDS);
}

function deleted() {
  feed.close();
  findings.update(false);
  notice(byId("problem"), "This study was deleted. What is shown is the last that was known of it.");
  steering.close();
  setText(byId("announce"), "The study was deleted");
}

function draw() {
  if (state.study === null) return;
  drawHead();
  drawProgress();
  drawFigures();
  drawBest();
  table.update(changed);
  changed.clear();
  drawCharts();
}

function drawHead() {
  const { study } = state;
  if (byId("state").textContent !== study.state) setText(byId("announce"), `Study is ${study.state}`);
  setBadge(byId("state"), study.state);
  setText(byId("name"), study.name);
  if (document.title !== `${study.name} · Tunewright`) document.title = `${study.name} · Tunewright`;
  setText(byId("notes-text"), study.spec.notes);
  byId("notes").hidden = study.spec.notes.trim() === "";
  const when = study.ended_at ? `ended ${moment(study.ended_at)}` : study.started_at ? `started ${moment(study.started_at)}` : `submitted ${moment(study.created_at)}`;
  setText(byId("when"), when);
  setText(byId("priority"), study.priority === "normal" ? "" : `${study.priority} priority`);
  setTags(byId("tags"), study.tags);
  const wanted = { pause: "Pausing: running trials save their state and stop.", cancel: "Cancelling: running trials are being stopped." }[study.wanted];
  const settled = isFinal(study) || (study.wanted === "pause" && study.state === "paused");
  const reason = !settled && wanted ? wanted : study.reason ? sentence(study.reason) : null;
  notice(byId("reason"), reason);
  byId("reason").classList.toggle("notice-bad", study.state === "failed");
  findings.update(!isFinal(study) && study.wanted === "run" && !study.counts.running);
  steering.draw();
}

function drawProgress() {
  const { study } = state;
  const share = study.state === "completed" ? 1 : study.progress;
  setText(byId("progress-value"), percent(share));
  setText(byId("progress-left"), timeLeft(study));
  setBar(byId("progress"), share, `${percent(share)}, ${timeLeft(study)}`, study.state);
  const counts = TRIAL_STATES.filter((name) => study.counts[name]);
  const list = byId("counts");
  const text = counts.map((name) => `${name} ${study.counts[name]}`).join();
  if (list.dataset.text === text) return;
  list.dataset.text = text;
  list.replaceChildren(...counts.map((name) => element("li", { data: { state: name }, text: `${count(study.counts[name])} ${name}` })));
}

function timeLeft(study) {
  if (study.state === "queued") return "waiting for a free place";
  if (study.state === "paused") return "paused";
  if (isFinal(study)) return `${study.state} after ${duration(study.active_seconds)}`;
  return study.seconds_left === null ? "time left not known yet" : `about ${estimate(study.seconds_left)} left`;
}

function drawFigures() {
  const { study, objective } = state;
  const { budget } = study.spec;
  const best = study.best[0];
  const unit = objective.unit ? ` ${objective.unit}` : "";
  const figures = [
    [`Best ${objective.metric}`, best ? measured(best.metrics[objective.metric]) + unit : "–", best ? `trial ${best.trial}` : isFinal(study) ? "no value" : "no value yet"],
    ["Trials", count(state.started), budget.trials ? `of ${count(budget.trials)}` : "no limit"],
    ["Running now", count(study.counts.running ?? 0), `of ${count(study.spec.parallel)} in parallel`],
    ["Failed", count(study.counts.failed ?? 0), state.started ? `${share(study.counts.failed ?? 0, state.started)} of trials` : ""],
    ["Active time", duration(state.activeSeconds), budget.seconds ? `of ${duration(budget.seconds)}` : "pauses not counted"],
  ];
  setFigures(byId("figures"), figures);
  byId("figures").children[3].dataset.bad = Boolean(study.counts.failed);
}

function share(part, whole) {
  return `${Math.round((100 * part) / whole)} %`;
}

function drawBest() {
  const best = state.study.best[0];
  const card = byId("best-config");
  card.hidden = !best;
  if (!best) return;
  const { fidelity } = state.study.spec;
  setText(byId("config-hint"), `trial ${best.trial}, ${amount(best.resource)} ${fidelity?.name ?? ""}`);
  const text = JSON.stringify(best.config);
  if (card.dataset.text === text) return;
  card.dataset.text = text;
  card.querySelector("dl").replaceChildren(...configuration(best.config));
}

function drawCharts() {
  const shown = state.curves.size;
  setText(byId("curves-hint"), shown < state.curveTotal ? `${count(shown)} of ${count(state.curveTotal)} trials` : "");
  if (chartsProblem) {
    for (const id of ["best-empty", "curves-empty"]) setText(byId(id), sentence(chartsProblem));
    return;
  }
  if (charts === null) return;
  const empty = emptyText();
  const now = performance.now();
  if (stale.best || now - bestDrawnAt > BEST_MILLISECONDS) {
    charts.best.draw(state, empty);
    bestDrawnAt = now;
  }
  if (stale.curves) charts.curves.draw(state, empty);
  stale.best = stale.curves = false;
}

function redrawCharts() {
  stale.best = stale.curves = true;
  redraw.request();
}

function emptyText() {
  const { study } = state;
  const failed = study.counts.failed ?? 0;
  if (failed > 0 && failed === state.started) return `No reports: ${failed === 1 ? "the only trial" : `all ${count(failed)} trials`} failed. Open one below to see why.`;
  if (isFinal(study)) return "No reports: the study ended before a trial had measured anything.";
  if (state.started === 0) return "No reports yet: the first trial has not started.";
  return "No reports yet: the first one comes when a trial has measured something.";
}
