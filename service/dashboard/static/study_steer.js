// What people do to a study from its page: pause, resume, cancel, extend, enqueue, edit, try again, copy.

import { getAll, getJson, newKey, patchJson, postJson } from "./api.js";
import { byId, notice } from "./dom.js";
import { FormDialog } from "./form_dialog.js";
import { count, setting } from "./format.js";
import { activeValues, defaultOf, problemOf } from "./space_values.js";
import { describe } from "./space_editor.js";
import { budgetFields } from "./study_sections.js";
import { showRecipes } from "./study_recipes.js";
import { isOpen } from "./study_state.js";
import { same, writeValue } from "./values.js";

const VERBS = ["pause", "resume", "cancel"];
// Buttons of those who may write; a page for others has none of them.
const ALL = [...VERBS, "extend", "enqueue", "edit", "retry"];
const PRIORITIES = [["low", "low"], ["normal", "normal"], ["high", "high"]];

export class Steering {
  #api;
  #state;
  #feed;
  #redraw;
  #closed = false;

  /** `feed()` gives the page's; `redraw` is called when the state has changed. */
  constructor(api, state, feed, redraw) {
    this.#api = api;
    this.#state = state;
    this.#feed = feed;
    this.#redraw = redraw;
    const copy = byId("copy-dialog");
    byId("copy").addEventListener("click", () => showRecipes(copy, `${api}/recipe`));
    copy.querySelector("[data-close]").addEventListener("click", () => copy.close());
    if (!byId("pause")) return;
    this.#verbs();
    this.#dialogs();
    byId("retry").addEventListener("click", () => this.#alone("retry", () => this.#retryFailed()));
    byId("trials").addEventListener("click", (event) => {
      const button = event.target.closest("button[data-retry]");
      if (button) this.#retryOne(button);
    });
  }

  /** Offer what can be done in the study's present state. */
  draw() {
    if (this.#closed) return;
    const { study } = this.#state;
    const open = isOpen(study);
    this.#offer({
      pause: open && study.wanted !== "pause",
      resume: open && study.wanted === "pause",
      cancel: open,
      extend: study.state === "completed" || study.state === "failed",
      enqueue: open,
      edit: true,
      again: open,
      retry: open && study.counts.failed > 0,
    });
  }

  /** Offer nothing any more: the study is deleted. */
  close() {
    this.#closed = true;
    this.#offer({});
    for (const id of ["copy", "clone"]) if (byId(id)) byId(id).hidden = true;
    for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
  }

  #offer(offered) {
    for (const id of ALL) if (byId(id)) byId(id).hidden = !offered[id];
    for (const button of document.querySelectorAll("button[data-retry]")) button.hidden = !offered.again;
  }

  #verbs() {
    const dialog = byId("confirm-cancel");
    byId("pause").addEventListener("click", () => this.#steer("pause"));
    byId("resume").addEventListener("click", () => this.#steer("resume"));
    byId("cancel").addEventListener("click", () => dialog.showModal());
    byId("confirm-no").addEventListener("click", () => dialog.close());
    byId("confirm-yes").addEventListener("click", () => {
      dialog.close();
      this.#steer("cancel");
    });
  }

  async #steer(verb) {
    VERBS.forEach((id) => (byId(id).disabled = true));
    await this.#told(() => this.#take(() => postJson(`${this.#api}/${verb}`)));
    VERBS.forEach((id) => (byId(id).disabled = false));
  }

  #dialogs() {
    let before;
    const edit = new FormDialog("edit-dialog", { make: editFields, send: (said) => this.#change(before, said) });
    byId("edit").addEventListener("click", () => {
      const { name, tags, priority, spec, revision } = this.#state.study;
      before = { name, tags, priority, notes: spec.notes };
      edit.open({ ...before, revision });
    });
    const extend = new FormDialog("extend-dialog", {
      make: (fields) => budgetFields(fields),
      send: (body) => this.#take(() => postJson(`${this.#api}/extend`, { budget: {}, ...body })),
    });
    byId("extend").addEventListener("click", () => extend.open({ budget: given(this.#state.study.spec.budget) }));
    this.#enqueueDialog();
  }

  /** Change what was said otherwise; refused when somebody else made a change since the dialog was opened. */
  async #change(before, said) {
    const whole = { name: "", tags: [], notes: "", ...said };
    const changes = Object.fromEntries(Object.entries(whole).filter(([field, value]) => !same(value, before[field])));
    try {
      await this.#take(() => patchJson(this.#api, changes));
    } catch (problem) {
      // Whoever saves again after reading this means it.
      if (problem.status === 409) said.revision = (await getJson(this.#api)).revision;
      throw problem;
    }
  }

  #enqueueDialog() {
    const space = () => this.#state.study.spec.space;
    let shown = "";
    let key = newKey();
    const dialog = new FormDialog("enqueue-dialog", {
      make: (fields, draft) => {
        const active = activeValues(space(), draft.study.config ?? {});
        shown = [...active.keys()].join("\n");
        return space().filter(({ name }) => active.has(name)).map((parameter) => configField(fields, parameter));
      },
      changed: (fields, draft) => {
        // What is sent differs now, so it is another request.
        key = newKey();
        if ([...activeValues(space(), draft.study.config ?? {}).keys()].join("\n") !== shown) keepFocus(byId("enqueue-dialog"), () => dialog.render());
        fields.show(wrong(space(), draft.study.config ?? {}));
      },
      send: async ({ config = {} }) => {
        const errors = wrong(space(), config);
        if (errors.length) throw Object.assign(new Error("Some values do not fit."), { errors });
        const active = activeValues(space(), config);
        const sent = Object.fromEntries(Object.entries(config).filter(([name]) => active.has(name)));
        const entry = await postJson(`${this.#api}/queue`, { config: sent }, key);
        this.#done(`The configuration is number ${entry.number} of the queue.`);
      },
    });
    byId("enqueue").addEventListener("click", () => {
      key = newKey();
      dialog.open({});
    });
  }

  async #retryOne(button) {
    button.disabled = true;
    const ok = await this.#told(() => postJson(`${this.#api}/trials/${button.dataset.retry}/retry`));
    if (ok) this.#done(`Trial ${button.dataset.retry} will be tried again.`);
    else button.disabled = false;
  }

  /** Enqueue what failed and was not tried again yet. */
  async #retryFailed() {
    const queued = await getAll(`${this.#api}/queue`);
    const failed = await getAll(`${this.#api}/trials`, "&state=failed");
    const before = new Set(queued.map((entry) => entry.retry_of));
    const left = failed.filter(({ id }) => !before.has(id)).reverse();
    for (const { number } of left) await postJson(`${this.#api}/trials/${number}/retry`);
    this.#done(left.length ? `${left.length === 1 ? "1 trial" : `${count(left.length)} trials`} will be tried again.` : "All that failed are being tried again already.");
  }

  async #alone(id, act) {
    byId(id).disabled = true;
    await this.#told(act);
    byId(id).disabled = false;
  }

  async #take(send) {
    await this.#feed().hold(async () => this.#state.setStudy(await send()));
    this.#redraw();
  }

  async #told(act) {
    try {
      await act();
      notice(byId("problem"), null);
      return true;
    } catch (problem) {
      notice(byId("problem"), problem.message);
      return false;
    }
  }

  #done(message) {
    notice(byId("done"), message);
  }
}

function editFields(fields) {
  return [
    fields.make(["name"], { label: "Name", wide: true, spelled: true }),
    fields.make(["tags"], { label: "Tags", kind: "words", hint: "Words with commas between them" }),
    fields.make(["priority"], { label: "Priority", kind: "choice", choices: PRIORITIES }),
    fields.make(["notes"], { label: "Notes", kind: "long", wide: true, spelled: true }),
  ];
}

function configField(fields, parameter) {
  const shared = { label: parameter.name, hint: parameter.choices ? undefined : describe(parameter) };
  const fallback = defaultOf(parameter);
  const path = ["config", parameter.name];
  if (!parameter.choices) return fields.make(path, { ...shared, kind: "number", placeholder: `default ${setting(fallback)}` });
  return fields.make(path, { ...shared, kind: "choice", choices: [[null, `default (${writeValue(fallback)})`], ...parameter.choices.map((value) => [value, writeValue(value)])] });
}

/** What is wrong with a configuration, by field. */
function wrong(space, config) {
  const active = activeValues(space, config);
  return space
    .filter(({ name }) => active.has(name) && config[name] !== undefined)
    .map((parameter) => ({ field: `config.${parameter.name}`, message: problemOf(parameter, config[parameter.name]) }))
    .filter(({ message }) => message !== null);
}

/** Make a dialog's fields anew and leave the keyboard at the one where it was. */
function keepFocus(dialog, render) {
  const { path } = document.activeElement.closest("[data-path]")?.dataset ?? {};
  render();
  [...dialog.querySelectorAll("[data-path]")].find((node) => node.dataset.path === path)?.querySelector("input, select")?.focus();
}

function given(fields) {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== null));
}
