// The list of studies.

import { getJson } from "./api.js";
import { Chosen } from "./chosen.js";
import { byId, notice } from "./dom.js";
import { Feed, Redraw } from "./live.js";
import { fillRow, makeRow } from "./study_rows.js";

const PAGE = 50;

const table = byId("studies");
const more = byId("more");
const studies = new Map();
const rows = new Map();
const changed = new Set();
const redraw = new Redraw(draw);
const chosen = new Chosen();
let cursor = null;
let oldest = null;

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
    if (!rows.has(study.id)) table.tBodies[0].append(add(study));
    changed.add(study.id);
  }
  cursor = page.next_cursor;
  oldest = page.items.at(-1) ?? oldest;
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
    // It is on a page that is not loaded yet.
    if (!rows.has(id) && cursor !== null && Date.parse(study.created_at) < Date.parse(oldest.created_at)) return;
    studies.set(id, study);
    if (!rows.has(id)) table.tBodies[0].prepend(add(study));
    changed.add(id);
    redraw.request();
  } catch {
    // Deleted meanwhile, or the connection is gone: the next event, or the next load, tells.
  }
}

function add(study) {
  const row = makeRow(study);
  chosen.offer(row, study);
  rows.set(study.id, row);
  return row.line;
}

function remove(id) {
  chosen.drop(id);
  rows.get(id)?.line.remove();
  rows.delete(id);
  studies.delete(id);
  redraw.request();
}

function draw() {
  for (const id of changed) {
    const study = studies.get(id);
    if (study) fillRow(rows.get(id), study);
  }
  changed.clear();
  byId("empty").hidden = studies.size > 0;
  table.hidden = studies.size === 0;
  more.hidden = cursor === null;
}
