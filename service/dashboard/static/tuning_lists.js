// The lists of a session's page: settings, notices, intervals.

import { byId, element, setText } from "./dom.js";
import { moment } from "./format.js";
import { reasons } from "./tuning_reasons.js";
import { clusterNow, regions, regionText } from "./tuning_region.js";
import { changes, changeText, gain, improvement, knobValue, performanceText, verdict, verdictText } from "./tuning_words.js";

const MOST_CHANGES = 6;

/** Settings now beside the former ones, those that differ first. */
export function drawSettings(state) {
  const { session, former, now } = state;
  const names = Object.keys(former);
  byId("settings-card").hidden = names.length === 0;
  const best = session.best?.config ?? {};
  const changed = (name) => now[name] !== former[name];
  names.sort((a, b) => changed(b) - changed(a) || a.localeCompare(b));
  const found = regions(state, clusterNow(state.intervals));
  const text = JSON.stringify([names, former, now, best, found]);
  const body = byId("settings").tBodies[0];
  if (body.dataset.text === text) return;
  body.dataset.text = text;
  const differing = names.filter(changed).length;
  setText(byId("settings-hint"), differing ? `${differing} of ${names.length} differ from before` : "all as before");
  body.replaceChildren(...names.map((name) => settingRow(name, state, best, found[name])));
}

function settingRow(name, { session, former, now }, best, region) {
  const knob = session.knobs[name] ?? {};
  const unit = knob.unit ? ` ${knob.unit}` : "";
  const cell = (value, properties = {}) => element("td", { class: "num", text: value === undefined ? "–" : knobValue(value) + unit, ...properties });
  const changed = now[name] !== former[name];
  return element(
    "tr",
    { data: { changed } },
    element("th", { scope: "row", title: knob.doc ?? "" }, element("code", { text: name })),
    cell(former[name]),
    cell(now[name], { class: changed ? "num changed" : "num" }),
    cell(best[name]),
    element("td", { text: regionText(region, knob) }),
    element("td", { class: "range", text: range(knob) }),
  );
}

function range(knob) {
  if (knob.choices?.length) return knob.choices.join(", ");
  if (knob.type === "bool") return "on, off";
  return knob.low === undefined || knob.low === null ? "–" : `${knobValue(knob.low)} to ${knobValue(knob.high)}`;
}

export function drawNotices(state) {
  const list = byId("notices");
  byId("notices-card").hidden = state.notices.length === 0;
  const text = String(state.notices.map((notice) => notice.number));
  if (list.dataset.text === text) return;
  list.dataset.text = text;
  list.replaceChildren(...state.notices.map(noticeItem));
}

function noticeItem({ at, kind, text, left }) {
  const alone = Object.entries(left ?? {}).map(([name, why]) => element("li", { text: `${name} was left alone: ${why}` }));
  return element(
    "li",
    { data: { kind } },
    element("time", { datetime: at, text: moment(at) }),
    element("div", {}, element("p", { text }), alone.length ? element("ul", {}, ...alone) : null),
  );
}

/** Intervals, newest first; only those whose text has changed are made anew. */
export function drawIntervals(state) {
  const body = byId("intervals").tBodies[0];
  const rows = new Map([...body.rows].map((row) => [row.dataset.number, row]));
  const wanted = state.listed().map((told) => {
    const row = intervalRow(told, state.session);
    const known = rows.get(row.dataset.number);
    return known && known.textContent === row.textContent ? known : row;
  });
  if (wanted.some((row, i) => body.rows[i] !== row) || body.rows.length !== wanted.length) body.replaceChildren(...wanted);
  byId("intervals").hidden = wanted.length === 0;
  byId("intervals-empty").hidden = wanted.length > 0;
  byId("more").hidden = !state.more;
}

function intervalRow({ interval, before, after }, session) {
  const against = interval.skipped ? null : improvement(interval, session.maximize);
  const changed = interval.skipped ? [] : changes(before, after);
  const listed = changed.slice(0, MOST_CHANGES).map((change) => element("li", { text: changeText(change, session.knobs) }));
  if (changed.length > MOST_CHANGES) listed.push(element("li", { text: `and ${changed.length - MOST_CHANGES} more` }));
  return element(
    "tr",
    { role: "row", data: { number: interval.number, verdict: verdict(interval) } },
    element("th", { scope: "row", role: "rowheader" }, element("time", { datetime: interval.at, text: seconds(interval.at) })),
    element("td", { class: "num", role: "cell", text: interval.skipped ? "–" : performanceText(interval.performance, session.unit) }),
    element("td", { class: "num against", role: "cell", text: gain(against), data: { sign: Math.sign(against ?? 0) } }),
    element("td", { role: "cell" }, element("span", { class: "verdict", text: verdictText(interval, session.mode) })),
    element("td", { class: "story", role: "cell" }, listed.length ? element("ul", {}, ...listed) : null, element("p", { text: reasons(interval) })),
  );
}

const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });

function seconds(iso) {
  const then = new Date(iso);
  return then.toDateString() === new Date().toDateString() ? CLOCK.format(then) : moment(iso);
}
