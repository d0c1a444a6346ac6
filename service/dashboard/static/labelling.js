// Labellings, and the next question of the one that the address names: #<id>. Answers are the keys y, n and s.

import { getAll, getJson, postJson } from "./api.js";
import { byId, element, notice, setText } from "./dom.js";
import { count, moment } from "./format.js";

const ANSWERS = { y: "yes", n: "no", s: "skip" };

const table = byId("labellings");
const card = byId("question-card");
// None for those who may only read.
const buttons = [...card.querySelectorAll("button[data-answer]")];
const chosen = () => location.hash.slice(1);
const api = () => `/v1/labellings/${encodeURIComponent(chosen())}`;
let listed = null; // The newest request for the list.
let open = null; // The question that is shown, while it can be answered.

addEventListener("hashchange", choose);
addEventListener("keydown", pressed);
for (const button of buttons) button.addEventListener("click", () => answer(button.dataset.answer));
list();
ask();

async function list() {
  const asked = (listed = {});
  try {
    const items = await getAll("/v1/labellings");
    // Asked for anew meanwhile: this one may be older.
    if (listed !== asked) return;
    table.tBodies[0].replaceChildren(...items.map(row));
    byId("empty").hidden = items.length > 0;
    table.hidden = items.length === 0;
    table.setAttribute("aria-busy", "false");
  } catch (problem) {
    notice(byId("problem"), problem.message);
  }
}

function row({ id, spec, classes, answers, created_at: created }) {
  const number = (value) => element("td", { class: "num", text: count(value) });
  return element(
    "tr",
    {},
    element("th", { scope: "row" }, element("a", { href: `#${id}`, text: spec.dataset })),
    element("td", { text: classes.join(", ") }),
    number(answers.yes),
    number(answers.no),
    number(answers.skip),
    element("td", { class: "num", text: moment(created) }),
  );
}

/** Another labelling is chosen: the question that is shown is none of its. */
function choose() {
  open = null;
  byId("asking").hidden = true;
  byId("done").hidden = true;
  setText(byId("progress"), "");
  ask();
}

async function ask() {
  card.hidden = chosen() === "";
  if (card.hidden) return;
  await follow(() => getJson(`${api()}/next`));
}

async function answer(said) {
  if (open === null) return;
  const { number } = open;
  await follow(() => postJson(`${api()}/answer`, { question: number, answer: said }));
  list();
}

/** Show what comes next; until it is there, nothing can be answered. */
async function follow(send) {
  const before = open;
  const asked = chosen();
  busy(true);
  try {
    const next = await send();
    // Another labelling was chosen meanwhile: its own question is on the way.
    if (asked !== chosen()) return;
    show(next);
    notice(byId("problem"), null);
  } catch (problem) {
    if (asked !== chosen()) return;
    open = before;
    notice(byId("problem"), problem.message);
    // Somebody else was faster: go on with what is open now.
    if (problem.status === 409) return ask();
  }
  busy(false);
}

function busy(yes) {
  card.setAttribute("aria-busy", String(yes));
  if (yes) open = null;
  for (const button of buttons) button.disabled = yes || open === null;
}

function show({ labelling, question }) {
  open = question;
  const { yes, no, skip } = labelling.answers;
  setText(byId("progress"), `${labelling.spec.dataset}: ${count(yes + no)} answered, ${count(skip)} skipped`);
  byId("asking").hidden = question === null;
  byId("done").hidden = question !== null;
  if (question === null) return;
  setText(byId("asked"), `Is node ${question.node} “${question.class_name}”?`);
  setText(byId("likelihood"), `The model holds that for ${Math.round(100 * question.likelihood)}% likely.`);
  const features = question.features.map(({ column, value }) => `feature ${column}: ${Number(value.toPrecision(3))}`);
  const neighbours = question.neighbours.map(({ node, class_name: name }) => `node ${node}: ${name ?? "not known"}`);
  fill(byId("features"), features, "This node has no features.");
  fill(byId("neighbours"), neighbours, "This node has no neighbours.");
}

function fill(where, lines, nothing) {
  where.replaceChildren(...(lines.length ? lines : [nothing]).map((text) => element("li", { text })));
}

function pressed(event) {
  const said = ANSWERS[event.key.toLowerCase()];
  if (!said || buttons.length === 0 || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  event.preventDefault();
  answer(said);
}
