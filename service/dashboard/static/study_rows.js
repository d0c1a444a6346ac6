// A row for one study, in the list of studies and on the overview.

import { badge, bar, element, setBadge, setBar, setTags, setText } from "./dom.js";
import { count, estimate, measured, moment, percent } from "./format.js";
import { firstGoal } from "./study_state.js";

/** The parts of a new row; `fillRow` says in them how the study stands. */
export function makeRow(study) {
  const progress = bar("Budget used");
  const text = element("span", { class: "bar-text" });
  const state = badge(study.state);
  const name = element("a", { href: `/studies/${encodeURIComponent(study.id)}`, class: "study-name", text: study.name, title: study.name });
  const cells = {
    sub: element("span", { class: "sub" }),
    tags: element("ul", { class: "tags", "aria-label": "Tags" }),
    best: element("td", { class: "num", role: "cell" }),
    trials: element("td", { class: "num trials-col", role: "cell" }),
    started: element("td", { class: "num wide-only", role: "cell" }),
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
    cells.started,
  );
  return { line, progress, text, state, name, ...cells };
}

export function fillRow(row, study) {
  setText(row.name, study.name);
  row.name.title = study.name;
  const share = study.state === "completed" ? 1 : study.progress;
  const left = study.state === "running" && study.seconds_left !== null ? `${estimate(study.seconds_left)} left` : "";
  setText(row.sub, [study.workload, study.optimizer, study.priority === "normal" ? "" : `${study.priority} priority`].filter(Boolean).join(" · "));
  setTags(row.tags, study.tags);
  setBadge(row.state, study.state);
  setBar(row.progress, share, left ? `${percent(share)}, ${left}` : percent(share), study.state);
  setText(row.text, left ? `${percent(share)} · ${left}` : percent(share));
  setText(row.trials, count(Object.values(study.counts).reduce((sum, trials) => sum + trials, 0)));
  setText(row.started, moment(study.started_at));
  fillBest(row, study);
}

/** Of several objectives the first is told. */
function fillBest(row, { best, objectives }) {
  const metrics = best[0]?.metrics ?? {};
  const metric = firstGoal(objectives)?.metric ?? Object.keys(metrics)[0];
  if (!(metric in metrics)) return row.best.replaceChildren("–");
  row.best.replaceChildren(measured(metrics[metric]), element("span", { class: "sub", text: metric, title: metric }));
}
