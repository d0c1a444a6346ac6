// The list of studies.

import { getJson } from "./api.js";
import { badge, bar, byId, element, notice, setBadge, setBar, setTags, setText } from "./dom.js";
import { count, estimate, measured, moment, percent } from "./format.js";
import { Feed, Redraw } from "./live.js";

const PAGE = 50;

const table = byId("studies");
const more = byId("more");
const studies = new Map();
const rows = new Map();
const objectives = new Map();
const changed = new Set();
const redraw = new Redraw(draw);
let cursor = null;

new Feed({ load, apply, label: byId("connection") });
more.addEventListener("click", loadMore);

async function load() {
  const page = await getJson(`/v1/studies?limit=${PAGE}`);
  studies.clear();
  rows.clear();
  table.tBodies[0].replaceChildren();
  take(page);
  table.setAttribute("aria-busy", "false");
  notice(byId("problem"), null);
}

async function loadMore() {
  more.disabled = true;
  try {
    take(await getJson(`/v1/studies?limit=${PAGE}&cursor=${encodeURIComponent(cursor)}`));
    notice(byId("problem"), null);
  } catch (problem) {
    notice(byId("problem"), problem.message);
  }
  more.disabled = false;
}

function take(page) {
  for (const study of page.items) {
    studies.set(study.id, study);
    if (!rows.has(study.id)) table.tBodies[0].append(make(study));
    changed.add(study.id);
  }
  cursor = page.next_cursor;
  redraw.now();
}

function apply(event) {
  const study = studies.get(event.study);
  if (event.kind === "study") {
    if (event.body.state === "deleted") remove(event.study);
    else fetchOne(event.study);
    return;
  }
  if (!study) return;
  const { counts, progress, seconds_left, best } = event.body;
  Object.assign(study, { counts, progress, seconds_left, best });
  changed.add(study.id);
  redraw.request();
}

/** A study that is new or has changed its state. */
async function fetchOne(id) {
  try {
    const study = await getJson(`/v1/studies/${encodeURIComponent(id)}`);
    studies.set(id, study);
    if (!rows.has(id)) table.tBodies[0].prepend(make(study));
    changed.add(id);
    redraw.request();
  } catch {
    // Deleted meanwhile, or the connection is gone: the next event, or the next load, tells.
  }
}

function remove(id) {
  rows.get(id)?.line.remove();
  rows.delete(id);
  studies.delete(id);
  redraw.request();
}

function make(study) {
  const progress = bar("Budget used");
  const text = element("span", { class: "bar-text" });
  const state = badge(study.state);
  const name = element("a", { href: `/studies/${encodeURIComponent(study.id)}`, class: "study-name", text: study.name, title: study.name });
  const cells = {
    sub: element("span", { class: "sub" }),
    tags: element("ul", { class: "tags", "aria-label": "Tags" }),
    best: element("td", { class: "num", role: "cell" }),
    trials: element("td", { class: "num trials-col", role: "cell" }),
  };
  // The roles stay what they are when the style sheet lays rows out as blocks in a narrow window.
  const line = element(
    "tr",
    { data: { study: study.id }, role: "row" },
    element("th", { scope: "row", role: "rowheader" }, name, cells.sub, cells.tags),
    element("td", { role: "cell" }, state),
    element("td", { class: "progress-col", role: "cell" }, progress, text),
    cells.best,
    cells.trials,
    element("td", { class: "num wide-only", text: moment(study.started_at ?? study.created_at) }),
  );
  rows.set(study.id, { line, progress, text, state, ...cells });
  return line;
}

function draw() {
  for (const id of changed) {
    const study = studies.get(id);
    if (study) fill(rows.get(id), study);
  }
  changed.clear();
  byId("empty").hidden = studies.size > 0;
  table.hidden = studies.size === 0;
  more.hidden = cursor === null;
}

function fill(row, study) {
  const share = study.state === "completed" ? 1 : study.progress;
  const left = study.state === "running" && study.seconds_left !== null ? `${estimate(study.seconds_left)} left` : "";
  setText(row.sub, [study.workload, study.optimizer, study.priority === "normal" ? "" : `${study.priority} priority`].filter(Boolean).join(" · "));
  setTags(row.tags, study.tags);
  setBadge(row.state, study.state);
  setBar(row.progress, share, left ? `${percent(share)}, ${left}` : percent(share), study.state);
  setText(row.text, left ? `${percent(share)} · ${left}` : percent(share));
  setText(row.trials, count(Object.values(study.counts).reduce((sum, trials) => sum + trials, 0)));
  fillBest(row, study);
}

/** The list does not say which metric is the objective; with several metrics the study itself is asked, once. */
async function fillBest(row, study) {
  const metrics = study.best[0]?.metrics ?? {};
  const names = Object.keys(metrics);
  if (names.length === 0) return row.best.replaceChildren("–");
  if (names.length > 1 && !objectives.has(study.id)) {
    const answer = getJson(`/v1/studies/${encodeURIComponent(study.id)}`).then((full) => full.spec.objectives[0].metric);
    objectives.set(study.id, answer);
    answer.catch(() => objectives.delete(study.id));
  }
  try {
    const objective = names.length > 1 ? await objectives.get(study.id) : names[0];
    row.best.replaceChildren(measured(metrics[objective]), element("span", { class: "sub", text: objective }));
  } catch {
    row.best.replaceChildren("–");
  }
}
