// The page of one tuning session.

import { getJson, postJson } from "./api.js";
import { loadPlotly } from "./charts.js";
import { byId, element, notice, setBadge, setFigures, setText } from "./dom.js";
import { count, duration, moment, sentence } from "./format.js";
import { Feed, Redraw } from "./live.js";
import { PerformanceChart, TimelineChart } from "./tuning_charts.js";
import { ContextChart, RegionChart, sayClusters } from "./tuning_context.js";
import { drawIntervals, drawNotices, drawSettings } from "./tuning_lists.js";
import { TuningState } from "./tuning_state.js";
import { changes, changeText, gain, isFinal, keeps, meaning, objectiveText, performanceText } from "./tuning_words.js";

const UPDATE_MILLISECONDS = 400;
const STATES_OF_TROUBLE = new Set(["failed", "restoring"]);

const root = byId("session");
const api = `/v1/sessions/${encodeURIComponent(root.dataset.session)}`;
const state = new TuningState(api);
const redraw = new Redraw(draw);
let charts = null;
let chartsProblem = null;
let updating = 0;
let gone = false;

const feed = new Feed({ study: root.dataset.session, kinds: ["session", "interval", "notice", "settings"], load, apply, label: byId("connection") });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => redraw.request());
// The interval that is being measured counts down, also between events.
setInterval(() => state.session && !isFinal(state.session) && drawFigures(), 1000);
byId("more").addEventListener("click", showMore);
// Whoever may only read is offered no more than that.
const steers = byId("stop") !== null;
if (steers) steering();

async function load() {
  try {
    await state.load();
  } catch (problem) {
    if (problem.status !== 404) throw problem;
    deleted();
    return;
  }
  byId("intervals").setAttribute("aria-busy", "false");
  redraw.now();
  startCharts();
}

/** Plotly is large: it is loaded once the rest of the page stands. */
async function startCharts() {
  if (charts !== null) return;
  try {
    const plotly = await loadPlotly(root.dataset.plotly);
    charts ??= {
      performance: new PerformanceChart(plotly),
      timeline: new TimelineChart(plotly),
      context: new ContextChart(plotly, () => redraw.now()),
      region: new RegionChart(plotly),
    };
    chartsProblem = null;
  } catch (problem) {
    chartsProblem = problem.message;
  }
  redraw.now();
}

/** Events of a session come in bunches, one for each thing that an interval's end writes. */
function apply({ body }) {
  if (body.state === "deleted") return deleted();
  if (updating) return;
  updating = setTimeout(async () => {
    updating = 0;
    try {
      await feed.hold(() => state.update());
      redraw.request();
    } catch {
      feed.reload();
    }
  }, UPDATE_MILLISECONDS);
}

function deleted() {
  gone = true;
  feed.close();
  notice(byId("problem"), "This session was deleted. What is shown is the last that was known of it.");
  byId("confirm-stop")?.close();
  redraw.now();
  setText(byId("announce"), "The session was deleted");
}

async function showMore() {
  byId("more").disabled = true;
  try {
    await feed.hold(() => state.showMore());
    notice(byId("problem"), null);
    redraw.now();
  } catch (problem) {
    notice(byId("problem"), problem.message);
  }
  byId("more").disabled = false;
}

function draw() {
  if (state.session === null) return;
  drawHead();
  drawFigures();
  drawCharts();
  drawSettings(state);
  drawNotices(state);
  drawIntervals(state);
}

function drawHead() {
  const { session } = state;
  const node = byId("state");
  if (node.textContent !== session.state) setText(byId("announce"), `Session is ${session.state}`);
  setBadge(node, session.state);
  drawTouched(session);
  setText(byId("objective"), objectiveText(session.objective));
  setText(byId("mode"), session.mode === "advice" ? "advice only" : `every ${duration(session.spec.interval)}`);
  const { started_at, ended_at, created_at } = session;
  setText(byId("when"), ended_at ? `ended ${moment(ended_at)}` : started_at ? `began ${moment(started_at)}` : `asked for ${moment(created_at)}`);
  notice(byId("reason"), meaning(session));
  byId("reason").classList.toggle("notice-bad", STATES_OF_TROUBLE.has(session.state));
  byId("reason").classList.toggle("notice-warn", session.state === "yielded" || session.state === "waiting");
  if (steers) drawSteering(session);
}

function drawSteering(session) {
  const open = !gone && !isFinal(session) && session.wanted !== "stop";
  byId("pause").hidden = !open || session.wanted === "pause";
  byId("resume").hidden = !open || session.wanted !== "pause";
  byId("stop").hidden = !open && (gone || !keeps(session));
  const label = session.mode === "advice" ? "Stop" : keeps(session) ? "Restore" : "Stop and restore";
  for (const id of ["stop", "confirm-yes"]) setText(byId(id), label);
}

/** Whether something of ours stands on the server: the one thing to see at a glance. */
function drawTouched(session) {
  const node = byId("touched");
  const differ = changes(state.former, state.now).length > 0;
  node.hidden = session.mode === "advice";
  setText(node, session.touched ? "settings changed" : differ ? "settings differ from before" : "settings as before");
  node.dataset.state = session.touched ? "running" : "stopped";
}

function drawFigures() {
  const { session } = state;
  const { budget } = session.spec;
  const expected = session.best?.gain ?? null;
  const figures = [
    ["Gain", gain(session.gain), "mean, against the former settings"],
    ["Last interval", performanceText(lastPerformance(), ""), session.unit || "combined"],
    ["Intervals", count(session.intervals), budget.intervals ? `of ${count(budget.intervals)}` : "measured"],
    ["Unsafe", count(session.unsafe), session.intervals ? `${((100 * session.unsafe) / session.intervals).toFixed(1)} %; ${session.lost.toFixed(2)} intervals of work lost` : "below the former settings"],
    isFinal(session) || !session.next_at
      ? ["Active", duration(session.active_seconds), budget.seconds ? `of ${duration(budget.seconds)}` : "pauses not counted"]
      : ["Next decision", nextDecision(session), budget.seconds ? `${duration(session.active_seconds)} of ${duration(budget.seconds)} used` : `active for ${duration(session.active_seconds)}`],
  ];
  if (expected !== null) figures[0][2] = `mean; best known ${gain(expected)}`;
  setFigures(byId("figures"), figures);
  byId("figures").children[3].dataset.bad = session.unsafe > 0;
}

function nextDecision(session) {
  const left = (Date.parse(session.next_at) - Date.now()) / 1000;
  return left > 0.5 ? `in ${duration(Math.ceil(left))}` : "now";
}

function lastPerformance() {
  return state.intervals.find((interval) => !interval.skipped && interval.performance !== null)?.performance ?? null;
}

function drawCharts() {
  if (chartsProblem) {
    for (const id of ["performance-empty", "timeline-empty", "context-empty", "region-empty"]) setText(byId(id), sentence(chartsProblem));
    return;
  }
  if (charts === null) return;
  charts.performance.draw(state, emptyText());
  setText(byId("performance-hint"), state.older ? `the newest ${count(state.intervals.length)} intervals` : "");
  const { shown, turned } = charts.timeline.draw(state, unturnedText());
  setText(byId("timeline-hint"), shown < turned ? `${count(shown)} of ${count(turned)} knobs that were turned` : "");
  sayClusters(byId("context-hint"), charts.context.draw(state, emptyText()));
  const region = charts.region.draw(state, "No knob was measured at a second value yet.");
  setText(byId("region-hint"), regionHint(region));
}

function regionHint({ shown, tried }) {
  const where = `in ${state.older ? `the newest ${count(state.intervals.length)} intervals` : "this session"}, in contexts like now`;
  return shown === 0 ? "" : shown < tried ? `${where}; ${count(shown)} of ${count(tried)} knobs` : where;
}

function emptyText() {
  const { session } = state;
  if (isFinal(session)) return "The session ended before an interval had been measured.";
  if (session.state === "waiting") return "Nothing measured yet: the database has too little traffic.";
  if (session.state === "pending") return "The session has not begun yet.";
  return `No interval measured yet: the first one ends ${session.next_at ? nextDecision(session) : "soon"}.`;
}

function unturnedText() {
  if (state.session.mode === "advice") return "No other settings were suggested so far.";
  return isFinal(state.session) ? "No knob was turned." : "No knob was turned yet: the former settings are measured first.";
}

function steering() {
  const dialog = byId("confirm-stop");
  byId("pause").addEventListener("click", () => steer("pause"));
  byId("resume").addEventListener("click", () => steer("resume"));
  byId("stop").addEventListener("click", () => {
    askToStop();
    dialog.showModal();
  });
  byId("confirm-no").addEventListener("click", () => dialog.close());
  byId("confirm-yes").addEventListener("click", () => {
    dialog.close();
    steer("stop");
  });
}

/** Says what stopping will do to the server. */
function askToStop() {
  const { session, former, now } = state;
  const kept = keeps(session);
  const stands = session.touched || kept;
  const back = stands ? changes(now, former) : [];
  setText(byId("confirm-title"), session.mode === "advice" ? "Stop this session?" : `${byId("stop").textContent}?`);
  const whole = stands ? "All settings go back to what they were before the session." : "The server has its former settings.";
  const some = back.length === 1 ? "This setting goes back to what it was before:" : "These settings go back to what they were before:";
  setText(byId("confirm-text"), `${kept ? "What the session has kept is taken back." : "The session ends for good."} ${back.length ? some : whole}`);
  setText(byId("confirm-no"), kept ? "Leave it as it is" : "Keep it running");
  byId("confirm-list").replaceChildren(...back.map((change) => element("li", { text: changeText(change, session.knobs) })));
}

async function steer(verb) {
  const buttons = ["pause", "resume", "stop"].map(byId);
  buttons.forEach((button) => (button.disabled = true));
  try {
    await feed.hold(async () => state.setSession(await postJson(`${api}:${verb}`)));
    notice(byId("problem"), null);
    redraw.now();
  } catch (problem) {
    notice(byId("problem"), problem.message);
  }
  buttons.forEach((button) => (button.disabled = false));
}
