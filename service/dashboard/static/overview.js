// What is under way, on which cluster, and what needs a look.

import { getJson } from "./api.js";
import { badge, byId, element, notice, setFigures, setText } from "./dom.js";
import { amount, count, duration, moment, sentence } from "./format.js";
import { Feed, Redraw } from "./live.js";
import { fillRow, makeRow } from "./study_rows.js";
import { gain, objectiveText } from "./tuning_words.js";

// How full the cluster is, and what the service finds wrong, come with no event.
const REFRESH_MILLISECONDS = 10_000;
const NEWS_MILLISECONDS = 1000;

const rows = new Map();
const redraw = new Redraw(draw);
let overview = null;
let newsTimer = 0;

const feed = new Feed({ kinds: ["study", "progress", "session", "interval"], load, apply, label: byId("connection") });
setInterval(() => document.hidden || refresh(), REFRESH_MILLISECONDS);

async function load() {
  overview = await getJson("/v1/overview");
  notice(byId("problem"), null);
  redraw.now();
}

/** Fetched again without a word when it fails: the feed shows that the connection is gone. */
function refresh() {
  return feed.hold(load).catch(() => null);
}

function apply(event) {
  const study = event.kind === "progress" && overview.running.find(({ id }) => id === event.study);
  if (study) {
    const { counts, progress, seconds_left, best } = event.body;
    overview.running_trials += (counts.running ?? 0) - (study.counts.running ?? 0);
    Object.assign(study, { counts, progress, seconds_left, best });
    redraw.request();
    if (!event.body.ended.some((end) => end.problem)) return;
  }
  newsTimer ||= setTimeout(() => {
    newsTimer = 0;
    refresh();
  }, NEWS_MILLISECONDS);
}

function draw() {
  if (overview === null) return;
  const used = Object.keys(overview.studies).length > 0 || Object.keys(overview.sessions).length > 0;
  byId("nothing").hidden = used;
  byId("studies-card").hidden = byId("tuning-card").hidden = !used;
  drawFigures();
  drawLooks();
  drawStudies();
  drawTuning();
}

function drawFigures() {
  const { studies, sessions, places, running_trials: trials, cluster } = overview;
  const tuned = (sessions.running ?? 0) + (sessions.waiting ?? 0);
  const figures = [
    ["Studies running", count(studies.running ?? 0), `of ${count(places)} ${places === 1 ? "place" : "places"}`],
    ["Studies waiting", count(studies.queued ?? 0), studies.paused ? `and ${count(studies.paused)} paused` : "for a place"],
    ["Trials running", count(trials), tuned ? `and ${count(tuned)} ${tuned === 1 ? "database" : "databases"} tuned` : "no database is tuned"],
    ["CPUs in use", inUse(cluster?.cpus, cluster?.free_cpus), nodes(cluster)],
    ["GPUs in use", inUse(cluster?.gpus, cluster?.free_gpus), cluster ? (cluster.gpus ? `${share(cluster.gpus, cluster.free_gpus)} in use` : "the cluster has none") : "not known yet"],
  ];
  setFigures(byId("figures"), figures);
}

function inUse(total, free) {
  if (total === undefined) return "–";
  return total === 0 ? "0" : `${amount(total - free)} of ${amount(total)}`;
}

function share(total, free) {
  return `${Math.round((100 * (total - free)) / total)} %`;
}

function nodes(cluster) {
  if (!cluster) return "the cluster was not seen yet";
  const where = `on ${count(cluster.nodes)} ${cluster.nodes === 1 ? "node" : "nodes"}`;
  return cluster.seconds_ago < 60 ? where : `${where}, ${duration(cluster.seconds_ago)} ago`;
}

function drawLooks() {
  const { findings, failures } = overview;
  const text = JSON.stringify([findings, failures]);
  const list = byId("looks");
  byId("looks-card").hidden = findings.length + failures.length === 0;
  if (list.dataset.text === text) return;
  list.dataset.text = text;
  list.replaceChildren(...findings.map(finding), ...failures.map(failure));
}

function finding({ severity, seen, why, remedy, study }) {
  const link = study ? element("a", { href: `/studies/${encodeURIComponent(study)}`, text: "Look at the study" }) : null;
  return element(
    "li",
    { data: { severity } },
    element("p", { class: "finding-seen", text: `${sentence(seen)} ${sentence(why)}` }),
    element("p", { class: "hint" }, sentence(remedy), link ? " " : null, link),
  );
}

function failure({ kind, id, name, at, problem, trial, failed, trials }) {
  const path = kind === "session" ? "sessions" : "studies";
  const seen = {
    study: "failed",
    trials: failed === 1 ? `had a trial that failed, of ${count(trials)}` : `had ${count(failed)} trials that failed, of ${count(trials)}`,
    session: "ended its tuning session",
  }[kind];
  const link = element("a", { href: `/${path}/${encodeURIComponent(id)}`, text: name, title: name });
  const look = trial ? element("a", { href: `/trials/${encodeURIComponent(trial)}`, text: `Look at trial ${trial.split("-").at(-1)}` }) : null;
  return element(
    "li",
    { data: { severity: kind === "trials" ? "warning" : "problem", failure: id } },
    element("p", { class: "finding-seen" }, link, ` ${seen}`, element("time", { datetime: at, class: "hint", text: ` ${moment(at)}` })),
    element("p", { class: "hint" }, problem ? sentence(problem) : "No reason was given.", look ? " " : null, look),
  );
}

function drawStudies() {
  const { running, waiting, studies } = overview;
  const listed = [...running, ...waiting];
  const all = (studies.running ?? 0) + (studies.queued ?? 0);
  setText(byId("studies-hint"), listed.length < all ? `${count(listed.length)} of ${count(all)}, the newest` : "");
  byId("studies-empty").hidden = listed.length > 0;
  byId("studies").hidden = listed.length === 0;
  const lines = listed.map((study) => {
    if (!rows.has(study.id)) rows.set(study.id, makeRow(study));
    fillRow(rows.get(study.id), study);
    return rows.get(study.id).line;
  });
  for (const id of rows.keys()) if (!listed.some((study) => study.id === id)) rows.delete(id);
  keep(byId("studies").tBodies[0], lines);
}

/** Put these rows into a table, unless they are there already: whoever stands on a link of one stays there. */
function keep(body, lines) {
  const same = body.rows.length === lines.length && lines.every((line, i) => body.rows[i] === line);
  if (!same) body.replaceChildren(...lines);
}

function drawTuning() {
  const { tuning } = overview;
  byId("tuning-empty").hidden = tuning.length > 0;
  byId("tuning").hidden = tuning.length === 0;
  const body = byId("tuning").tBodies[0];
  const text = JSON.stringify(tuning);
  if (body.dataset.text === text) return;
  body.dataset.text = text;
  body.replaceChildren(...tuning.map(sessionRow));
}

function sessionRow({ id, database_name: name, objective, mode, state, gain: better, intervals, unsafe, started_at: started, created_at: created }) {
  const link = element("a", { href: `/sessions/${encodeURIComponent(id)}`, class: "study-name", text: name, title: name });
  const bad = unsafe ? element("span", { class: "sub bad", text: `${count(unsafe)} unsafe` }) : null;
  // The roles stay what they are when the style sheet lays rows out as blocks in a narrow window.
  return element(
    "tr",
    { data: { session: id }, role: "row" },
    element("th", { scope: "row", role: "rowheader" }, link, element("span", { class: "sub", text: `${objectiveText(objective)}${mode === "advice" ? " · advice only" : ""}` })),
    element("td", { role: "cell" }, badge(state)),
    element("td", { class: "num gain-col", role: "cell" }, gain(better), element("span", { class: "narrow-only", text: " over the former settings" })),
    element("td", { class: "num count-col", role: "cell" }, count(intervals), element("span", { class: "narrow-only", text: " intervals" }), bad),
    element("td", { class: "num wide-only", role: "cell", text: moment(started ?? created) }),
  );
}
