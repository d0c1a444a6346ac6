// The list of tuning sessions, and of attached databases.

import { getJson } from "./api.js";
import { badge, byId, element, setBadge, setText } from "./dom.js";
import { count, moment } from "./format.js";
import { Feed } from "./live.js";
import { LiveList } from "./live_list.js";
import { gain, objectiveText } from "./tuning_words.js";

const sessions = new LiveList(byId("sessions"), "/v1/sessions", { make, fill, drawn, hold: (fetch) => feed.hold(fetch) });
let databases = [];

const feed = new Feed({ kinds: ["session", "interval"], load, apply, label: byId("connection") });

async function load() {
  const [page, attached] = await Promise.all([sessions.first(), getJson("/v1/databases?limit=200")]);
  databases = attached.items;
  sessions.begin(page);
}

/** An event says which session is not as it was. */
function apply({ study: id, body }) {
  if (body.state === "deleted") sessions.remove(id);
  else sessions.fetch(id);
}

function make(session) {
  const state = badge(session.state);
  const cells = {
    touched: element("td", { role: "cell" }),
    gain: element("td", { class: "num", role: "cell" }),
    intervals: element("td", { class: "num count-col", role: "cell" }),
  };
  const link = element("a", { href: `/sessions/${encodeURIComponent(session.id)}`, class: "study-name", text: session.database_name, title: session.database_name });
  const mode = session.mode === "advice" ? "advice only" : "applies";
  // The roles stay what they are when the style sheet lays rows out as blocks in a narrow window.
  const line = element(
    "tr",
    { data: { session: session.id }, role: "row" },
    element("th", { scope: "row", role: "rowheader" }, link, element("span", { class: "sub", text: `${objectiveText(session.objective)} · ${mode}` })),
    element("td", { role: "cell" }, state),
    cells.touched,
    cells.gain,
    cells.intervals,
    element("td", { class: "num wide-only", role: "cell", text: moment(session.started_at ?? session.created_at) }),
  );
  return { line, state, ...cells };
}

function drawn() {
  drawEmpty();
  drawDatabases();
}

function fill(row, session) {
  setBadge(row.state, session.state);
  setText(row.touched, session.mode === "advice" ? "not touched" : session.touched ? "changed" : "as before");
  row.touched.dataset.touched = session.touched;
  setText(row.gain, gain(session.gain));
  const unsafe = session.unsafe ? `${count(session.unsafe)} unsafe` : "";
  const measured = count(session.intervals);
  if (row.intervals.dataset.text === measured + unsafe) return;
  row.intervals.dataset.text = measured + unsafe;
  const unit = element("span", { class: "narrow-only", text: " intervals" });
  row.intervals.replaceChildren(measured, unit, element("span", { class: "sub", text: unsafe }));
}

function drawEmpty() {
  const [first] = databases;
  setText(byId("empty-text"), first ? "Begin one from a shell, and it shows up here at once:" : "Attach a database from a shell, and then tune it:");
  setText(
    byId("empty-command"),
    first ? `tunewright tune-db ${first.name} --follow` : "tunewright attach postgresql://USER@HOST/DATABASE --name prod\ntunewright tune-db prod --follow",
  );
}

function drawDatabases() {
  byId("databases-card").hidden = databases.length === 0;
  const body = byId("databases").tBodies[0];
  const text = JSON.stringify(databases);
  if (body.dataset.text === text) return;
  body.dataset.text = text;
  body.replaceChildren(...databases.map(databaseRow));
}

function databaseRow({ name, kind, user, host, port, database, probe }) {
  const missing = probe?.missing.length ?? 0;
  const rights = probe === null ? "not looked at yet" : missing ? `${count(missing)} ${missing === 1 ? "GRANT" : "GRANTs"} missing: tunewright probe ${name}` : "all that is needed";
  return element(
    "tr",
    {},
    element("th", { scope: "row", text: name }),
    element("td", { text: probe ? `${kind} ${probe.version}` : kind }),
    element("td", { text: `${user}@${host}:${port}${database ? `/${database}` : ""}` }),
    element("td", { class: missing ? "bad" : null, text: rights }),
  );
}
