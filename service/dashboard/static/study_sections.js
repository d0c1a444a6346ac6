// The parts of a study as form fields; each function makes those of one part from what its draft says.

import { byId, element, setText } from "./dom.js";
import { setting } from "./format.js";
import { isMapping } from "./values.js";

const PRIORITIES = [[null, "normal"], ["low", "low"], ["high", "high"]];
// The one that a study has which names none.
const DEFAULT_OPTIMIZER = "hypertune";
const DIRECTIONS = [[null, "as small as possible"], ["maximize", "as large as possible"]];
const BUILT_IN = [
  ["command", "command: a program of yours", "Each leg of a trial starts the program that you name. Give its search space, objectives and fidelity below."],
  ["external", "external: trials run elsewhere", "Trials run wherever somebody asks for jobs. Give the search space and the objectives below."],
];

export function general(fields) {
  byId("general").replaceChildren(
    fields.make(["name"], { label: "Name", wide: true, spelled: true, hint: "For people; it need not be unique" }),
    fields.make(["tags"], { label: "Tags", kind: "words", hint: "Words to find it by, with commas between them" }),
    fields.make(["priority"], { label: "Priority", kind: "choice", choices: PRIORITIES }),
    fields.make(["notes"], { label: "Notes", kind: "long", wide: true, spelled: true }),
  );
}

export function workload(fields, workloads) {
  const registered = workloads.items.map(({ reference }) => [reference, reference]);
  const choices = [["", "Choose one"], ...registered, ...BUILT_IN.map(([name, label]) => [name, label]), ["module:attribute", "module:attribute: a class of yours"]];
  byId("workload").replaceChildren(fields.make(["workload"], { label: "Workload", kind: "choice", choices, wide: true }));
}

/** What depends on which workload was chosen. */
export function workloadParts(fields, draft, workloads) {
  const name = String(draft.get(["workload"]) ?? "");
  const kind = name.includes(":") ? "own" : name === "command" ? "command" : "";
  const host = byId("workload-own");
  // The keyboard may be in one of them.
  if (host.dataset.kind !== kind || kind === "command") {
    host.dataset.kind = kind;
    host.replaceChildren(...ownFields(fields, kind));
  }
  const info = workloads.items.find(({ reference }) => reference === name);
  setText(byId("workload-text"), info?.description ?? BUILT_IN.find(([builtIn]) => builtIn === name)?.[2] ?? "");
  data(fields, draft, info);
}

function ownFields(fields, kind) {
  if (kind === "own") return [fields.make(["workload"], { label: "Module and class", hint: "Importable where trials run, such as mine:Quadratic", wide: true })];
  if (kind === "") return [];
  return [
    fields.make(["command", "argv"], { label: "Program and arguments", kind: "lines", wide: true, hint: "One a line; {name} stands for a parameter's value, {leg.end} for the resource at which to end" }),
    fields.make(["command", "directory"], { label: "Directory", wide: true, hint: "Absolute path, on every machine where trials run" }),
  ];
}

function data(fields, draft, info) {
  const said = draft.get(["data"]);
  const names = new Set([...Object.keys(info?.data_options ?? {}), ...(isMapping(said) ? Object.keys(said) : [])]);
  byId("data-part").hidden = names.size === 0;
  byId("data").replaceChildren(
    ...[...names].map((name) => fields.make(["data", name], { label: name, kind: "value", hint: info?.data_options[name], placeholder: "default" })),
  );
}

export function objectives(fields, draft, metrics, changed) {
  const host = byId("objectives");
  const again = (focus) => {
    objectives(fields, draft, metrics, changed);
    host.querySelector(focus)?.focus();
    changed();
  };
  host.replaceChildren(
    ...draft.list(["objectives"]).map((_, place) => {
      const make = (name, options) => fields.make(["objectives", place, name], options);
      const remove = element("button", { type: "button", class: "button", text: "Remove", "aria-label": `Remove objective ${place + 1}` });
      remove.addEventListener("click", () => {
        draft.set(["objectives"], structuredClone(draft.list(["objectives"]).toSpliced(place, 1)));
        again("button");
      });
      return element(
        "fieldset",
        { class: "objective" },
        element("legend", { class: "visually-hidden", text: `Objective ${place + 1}` }),
        make("metric", { label: "Metric", suggestions: metrics }),
        make("direction", { label: "Wanted", kind: "choice", choices: DIRECTIONS }),
        make("bound", { label: "Bound", kind: "number", placeholder: "none", hint: "Makes it a constraint" }),
        make("unit", { label: "Unit", placeholder: "none" }),
        remove,
      );
    }),
  );
  const add = byId("add-objective");
  add.onclick = () => {
    draft.set(["objectives"], [...structuredClone(draft.list(["objectives"])), { metric: "" }]);
    again("fieldset:last-of-type input");
  };
}

export function fidelity(fields) {
  const make = (name, options) => fields.make(["fidelity", name], options);
  byId("fidelity").replaceChildren(
    make("name", { label: "Resource", hint: "Such as epochs" }),
    make("max", { label: "Of a whole trial", kind: "number" }),
    make("min", { label: "At least", kind: "number", placeholder: "1", hint: "Below this, metrics mean nothing" }),
    make("integer", { label: "Amounts", kind: "choice", choices: [[null, "whole numbers"], [false, "any numbers"]] }),
    make("unit", { label: "Unit", placeholder: "none" }),
  );
}

export function optimizer(fields, optimizers) {
  const choices = optimizers.map(({ name }) => [name === DEFAULT_OPTIMIZER ? null : name, name]);
  byId("optimizer").replaceChildren(fields.make(["optimizer", "name"], { label: "Optimizer", kind: "choice", choices, wide: true }));
}

/** What depends on which optimizer was chosen. */
export function optimizerParts(fields, draft, optimizers) {
  const name = draft.get(["optimizer", "name"]) ?? DEFAULT_OPTIMIZER;
  const info = optimizers.find((found) => found.name === name);
  setText(byId("optimizer-text"), info?.description ?? "");
  const properties = Object.entries(info?.settings.properties ?? {});
  byId("settings-part").hidden = properties.length === 0;
  byId("settings").replaceChildren(...properties.map(([setting, schema]) => fields.make(["optimizer", "settings", setting], asField(setting, schema))));
}

/** A setting's JSON schema as a field. */
function asField(name, schema) {
  const variants = schema.anyOf ?? [schema];
  const types = variants.map(({ type }) => type);
  const listed = variants.find((variant) => variant.enum)?.enum ?? (types.includes("boolean") ? [true, false] : null);
  const unset = schema.default === null || schema.default === undefined ? "none" : schema.default === true ? "yes" : schema.default === false ? "no" : setting(schema.default);
  const shared = { label: name, hint: schema.description };
  if (listed) return { ...shared, kind: "choice", choices: [[null, `default (${unset})`], ...listed.map((value) => [value, value === true ? "yes" : value === false ? "no" : String(value)])] };
  const numeric = types.includes("number") || types.includes("integer");
  return { ...shared, kind: numeric ? "number" : "value", placeholder: unset };
}

export function budgetFields(fields) {
  const make = (name, options) => fields.make(["budget", name], { kind: "number", placeholder: "no limit", ...options });
  return [
    make("trials", { label: "Trials", hint: "Configurations to start" }),
    make("seconds", { label: "Seconds", hint: "Wall time, pauses not counted" }),
    make("cluster_seconds", { label: "Cluster seconds", hint: "Summed over trials that run side by side" }),
    make("patience", { label: "Patience", hint: "Trials in a row that may bring nothing better" }),
    make("target", { label: "Target", placeholder: "none", hint: "Ends once the first objective without a bound is this good" }),
  ];
}

export function budget(fields) {
  byId("budget").replaceChildren(
    ...budgetFields(fields),
    fields.make(["parallel"], { label: "In parallel", kind: "number", placeholder: "1", hint: "Trials that run at the same time" }),
  );
}

export function more(fields) {
  const number = (path, label, placeholder, hint) => fields.make(path, { label, kind: "number", placeholder, hint });
  byId("more").replaceChildren(
    number(["seed"], "Seed", "0", "Makes the decisions repeatable"),
    number(["resources", "cpus"], "CPUs of a trial", "1", "Fractions share one"),
    number(["resources", "gpus"], "GPUs of a trial", "0", "Fractions share one"),
    number(["resources", "memory_mb"], "Memory of a trial (MB)", "no limit", "One that uses more is ended"),
    number(["limits", "leg_seconds"], "Seconds of a leg", "no limit", "A longer one is ended"),
    number(["limits", "silent_seconds"], "Silent seconds", "600", "Without a report for so long, a trial counts as hung"),
    number(["limits", "retry_failed"], "Retries of what failed", "0", "From the last state"),
    number(["limits", "retries"], "Retries of what was lost", "3", "With its worker"),
    number(["limits", "checkpoint_seconds"], "Seconds between states", "10", "In the middle of a leg"),
    number(["limits", "lease_seconds"], "Seconds of a lease", "60", "Of external: a silent client may lose its job then"),
    fields.make(["warm_start"], { label: "Warm start", kind: "words", hint: "Ids of earlier studies to learn from" }),
    fields.make(["project"], { label: "Project", placeholder: "the token's own", hint: "Who may see it" }),
  );
}
