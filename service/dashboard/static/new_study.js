// Writing a study: a form and a text that say the same, checked by the service while they are changed.

import { getJson, newKey, postJson } from "./api.js";
import { byId, element, notice, setText } from "./dom.js";
import { Draft } from "./draft.js";
import { Fields } from "./fields.js";
import { count, sentence } from "./format.js";
import { SpaceEditor } from "./space_editor.js";
import * as sections from "./study_sections.js";
import { same } from "./values.js";

const CHECK_MILLISECONDS = 300;
const RETRY_MILLISECONDS = 2000;
const EMPTY = { name: "", workload: "", budget: { trials: 50 } };
const UNREAD = "text";
const MAX_NAME = 200;
const CLONE = " (clone)";

const source = byId("writing").dataset.source;
const text = byId("text");
const format = byId("format");
// What is written survives a reload, and a session that ends meanwhile.
const kept = `tunewright:draft:${location.pathname}`;
const draft = new Draft(EMPTY);
const fields = new Fields(draft, edited);
const space = new SpaceEditor(draft, fields, () => edited(["space"]));
let catalog = { workloads: { items: [] }, optimizers: [] };
let asked = 0;
let timer = 0;
let found = null; // What the service last said of the draft as it is now; null while it has not answered.
let written = false; // Whether the text is what was changed last.

text.addEventListener("input", () => {
  written = true;
  later();
});
format.addEventListener("change", () => (written ? null : showText()));
byId("drop-text").addEventListener("click", () => {
  written = false;
  check();
  text.focus();
});
byId("start-over").addEventListener("click", () => {
  sessionStorage.removeItem(kept);
  location.reload();
});
byId("submit").addEventListener("click", submit);
byId("form").addEventListener("submit", (event) => event.preventDefault());
start();

async function start() {
  for (const part of ["objectives", "space", "optimizer", "budget"]) fields.anchor([part], byId(`${part}-part`), byId(`${part}-error`));
  fields.anchor(["data"], byId("data-part").parentElement, byId("data-error"));
  fields.anchor(["fidelity"], byId("fidelity"), byId("fidelity-error"));
  fields.anchor([UNREAD], text.parentElement, byId("text-error"));
  try {
    const [workloads, optimizers] = await Promise.all([getJson("/v1/workloads"), getJson("/v1/optimizers")]);
    catalog = { workloads, optimizers };
    await begin();
  } catch (problem) {
    notice(byId("problem"), problem.message);
    setText(byId("verdict"), "The page is not ready: load it again.");
    return;
  }
  byId("fields").disabled = false;
  byId("submit").disabled = false;
  byId("writing").setAttribute("aria-busy", "false");
  render();
  if (written) later();
  else check();
}

/** What is shown first: what was written here before, the study to clone, or hardly anything. */
async function begin() {
  const before = JSON.parse(sessionStorage.getItem(kept) ?? "null");
  if (before) {
    draft.adopt(before.study);
    byId("restored").hidden = false;
    if (before.text === undefined) return;
    written = true;
    text.value = before.text;
  } else if (source) {
    const { spec } = await getJson(`/v1/studies/${encodeURIComponent(source)}`);
    // Notes stay with the study that they are about.
    const { study } = await postJson("/v1/studies:validate", { study: { ...spec, notes: "" } });
    draft.adopt({ ...study, name: cloneName(spec.name) });
  }
}

/** The name of a clone; names are counted in characters, of which emoji are two units in JavaScript. */
function cloneName(name) {
  return `${[...name].slice(0, MAX_NAME - CLONE.length).join("")}${CLONE}`;
}

function workload() {
  return catalog.workloads.items.find(({ reference }) => reference === draft.get(["workload"]));
}

/** Draw the whole form from the draft. */
function render() {
  draft.declare(workload());
  sections.general(fields);
  sections.budget(fields);
  sections.optimizer(fields, catalog.optimizers);
  sections.optimizerParts(fields, draft, catalog.optimizers);
  sections.more(fields);
  sections.workload(fields, catalog.workloads);
  byId("workload-own").dataset.kind = "unknown";
  sections.workloadParts(fields, draft, catalog.workloads);
  renderDeclared();
}

/** Draw what the workload declares. */
function renderDeclared() {
  const metrics = (draft.declared("objectives") ?? []).map(({ metric }) => metric);
  sections.objectives(fields, draft, metrics, () => edited(["objectives"]));
  sections.fidelity(fields);
  space.render();
}

/** The form was changed. */
function edited(path) {
  written = false;
  if (path[0] === "workload") changedWorkload();
  if (path.join(".") === "optimizer.name") {
    draft.set(["optimizer", "settings"], undefined);
    sections.optimizerParts(fields, draft, catalog.optimizers);
  }
  if (path[0] === "space") space.refresh();
  later();
}

/** Another workload declares something else; what the form says of the old one's parts means nothing any more. */
function changedWorkload() {
  if (draft.get(["workload"]) !== "command") draft.forget("command");
  for (const part of ["space", "objectives", "fidelity", "resources", "data"]) if (draft.declares(part) || part === "data") draft.forget(part);
  draft.declare(workload());
  sections.workloadParts(fields, draft, catalog.workloads);
  renderDeclared();
}

function later() {
  keep();
  found = null;
  // An answer that is still on its way is about what stood here before, and must not be put over what stands here now.
  asked += 1;
  setText(byId("verdict"), "Checking…");
  clearTimeout(timer);
  timer = setTimeout(check, CHECK_MILLISECONDS);
}

function keep() {
  sessionStorage.setItem(kept, JSON.stringify({ study: draft.study, text: written ? text.value : undefined }));
}

/** Ask the service what it thinks of the draft; true once it has said so. */
async function check() {
  clearTimeout(timer);
  const number = (asked += 1);
  const byText = written;
  try {
    const answer = await postJson("/v1/studies:validate", byText ? { text: text.value } : { study: draft.study });
    if (number !== asked) return false;
    notice(byId("problem"), null);
    take(answer, byText);
    return true;
  } catch (problem) {
    if (number !== asked) return false;
    setText(byId("verdict"), `This could not be checked. ${problem.message}`);
    if (problem.status === 0 || problem.status >= 500 || problem.status === 429) timer = setTimeout(check, RETRY_MILLISECONDS);
    return false;
  }
}

function take(answer, byText) {
  found = answer;
  const unread = answer.errors.some(({ field }) => field === UNREAD);
  // While the text cannot be read the form would be of something else, and a change in it would lose the text.
  byId("fields").disabled = unread;
  byId("drop-text").hidden = !unread;
  if (byText && !unread) {
    draft.adopt(answer.study);
    render();
    keep();
  }
  learn(answer.complete);
  if (!byText) showText();
  fields.show(answer.errors, byText);
  verdict();
}

/** What a workload that is no part of the catalogue declares is known once the service has read it. */
function learn(complete) {
  if (!complete || workload() || !String(draft.get(["workload"]) ?? "").includes(":")) return;
  const before = ["space", "objectives", "fidelity"].map((part) => draft.declared(part));
  const declared = Object.fromEntries(["space", "objectives", "fidelity"].filter((part) => !draft.owns(part)).map((part) => [part, complete[part]]));
  draft.declare(declared);
  if (!same(before, ["space", "objectives", "fidelity"].map((part) => draft.declared(part)))) renderDeclared();
}

function showText() {
  if (!found?.study) return;
  text.value = format.value === "json" ? `${JSON.stringify(found.study, null, 2)}\n` : found.yaml;
}

function verdict() {
  const { errors, complete } = found;
  const list = byId("faults");
  list.hidden = errors.length === 0;
  list.replaceChildren(
    ...errors.map(({ field, message }) => {
      const button = element("button", { type: "button", class: "fault", on: { click: () => fields.reveal(field) } }, element("code", { text: field }), ` ${unnamed(field, message)}`);
      return element("li", {}, button);
    }),
  );
  setText(byId("verdict"), complete ? summary(complete) : errors.length === 1 ? "One thing is still to be said or mended:" : `${errors.length} things are still to be said or mended:`);
}

/** A message without the field's name, which stands before it. */
function unnamed(field, message) {
  return message.startsWith(`${field}: `) ? message.slice(field.length + 2) : message;
}

function summary({ space: parameters, budget, parallel, optimizer, fidelity }) {
  const limits = [
    budget.trials && `${count(budget.trials)} trials`,
    budget.seconds && `${count(budget.seconds)} s`,
    budget.cluster_seconds && `${count(budget.cluster_seconds)} s of the cluster`,
  ].filter(Boolean);
  const varied = parameters.filter(({ choices }) => choices === undefined || choices.length > 1).length;
  const searched = varied === 1 ? "1 parameter" : `${count(varied)} parameters`;
  return `Ready: ${optimizer.name} searches ${searched} within ${limits.join(" or ")}, ${count(parallel)} in parallel, up to ${count(fidelity.max)} ${fidelity.name} a trial.`;
}

async function submit() {
  const button = byId("submit");
  button.disabled = true;
  try {
    if (found === null && !(await check())) return;
    if (found.errors.length > 0) refuse();
    else await send();
  } finally {
    button.disabled = false;
  }
}

function refuse() {
  fields.show(found.errors, true);
  byId("faults").querySelector("button").focus();
}

async function send() {
  const { study } = draft;
  try {
    const made = await postJson("/v1/studies", study, keyOf(JSON.stringify(study)));
    sessionStorage.removeItem(kept);
    sessionStorage.removeItem(`${kept}:key`);
    location.assign(`/studies/${encodeURIComponent(made.id)}`);
  } catch (problem) {
    const lost = "Whether the study was stored is not known. Submit again: the same study is stored once, however often it is sent.";
    notice(byId("problem"), problem.status === 0 ? `${problem.message} ${lost}` : sentence(problem.message));
    fields.show(problem.errors, true);
    byId("problem").scrollIntoView({ block: "nearest" });
  }
}

/** The key of a study to be sent: the same for the same study, also after a reload. */
function keyOf(sent) {
  const before = JSON.parse(sessionStorage.getItem(`${kept}:key`) ?? "null");
  if (before?.sent === sent) return before.key;
  const key = newKey();
  sessionStorage.setItem(`${kept}:key`, JSON.stringify({ sent, key }));
  return key;
}
