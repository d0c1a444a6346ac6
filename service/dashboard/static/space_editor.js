// The search space as a form: a line for each parameter that opens to its fields.

import { byId, element, setText } from "./dom.js";
import { setting } from "./format.js";
import { isMapping, same, writeList } from "./values.js";

const TYPES = [
  ["float", "number"],
  ["int", "whole number"],
  ["categorical", "one of several, without order"],
  ["ordinal", "one of several, small to large"],
];
const YES = [[null, "no"], [true, "yes"]];
const SHARED = ["name", "type", "when"];
const OWN = { float: ["low", "high", "log", "step", "default"], int: ["low", "high", "log", "step", "default"], categorical: ["choices", "default"], ordinal: ["choices", "default"] };

const isNumeric = ({ type }) => type === "float" || type === "int";

/** A parameter's values in a few words. */
export function describe(parameter) {
  const { type, low, high, log, step, choices } = parameter;
  const values = choices === undefined ? `${setting(low)} to ${setting(high)}` : writeList(choices);
  const notes = [type, values, log ? "log" : "", step ? `steps of ${setting(step)}` : ""];
  return notes.filter(Boolean).join(" · ");
}

function conditions({ when }) {
  if (!isMapping(when)) return "";
  return Object.entries(when).map(([parent, values]) => `${parent} is ${writeList(values).replaceAll(", ", " or ")}`).join(" and ");
}

export class SpaceEditor {
  #draft;
  #fields;
  #changed;
  #host = byId("space");
  #lines = [];

  constructor(draft, fields, changed) {
    this.#draft = draft;
    this.#fields = fields;
    this.#changed = changed;
    byId("add-parameter").addEventListener("click", () => this.#add());
    byId("reset-space").addEventListener("click", () => this.#reset());
  }

  /** Draw all lines anew; those that are open stay open. */
  render() {
    const open = new Set(this.#lines.filter(({ node }) => node.open).map(({ place }) => place));
    this.#lines = this.#draft.list(["space"]).map((_, place) => this.#line(place));
    this.#host.replaceChildren(...this.#lines.map(({ node }) => node));
    for (const line of this.#lines) if (open.has(line.place)) line.node.open = true;
    this.refresh();
  }

  /** Say anew what each line holds. */
  refresh() {
    const own = this.#draft.owns("space");
    const left = this.#left();
    byId("reset-space").hidden = !own || !this.#draft.declares("space");
    byId("add-parameter").hidden = this.#draft.spaceIsPart && left.length === 0;
    const count = this.#lines.length;
    const whose = own ? (this.#draft.declares("space") ? ", changed from the workload's" : "") : count ? ", as the workload declares them" : "";
    setText(byId("space-hint"), count ? `${count === 1 ? "1 parameter" : `${count} parameters`}${whose}${atDefault(left)}` : "No parameters yet");
    const declared = new Map((this.#draft.declared("space") ?? []).map((parameter) => [parameter.name, parameter]));
    for (const { place, title, text, mark } of this.#lines) {
      const parameter = this.#parameter(place);
      const known = declared.get(parameter.name);
      setText(title, String(parameter.name ?? "") || "(no name)");
      setText(text, [describe(parameter), conditions(parameter) && `only when ${conditions(parameter)}`].filter(Boolean).join(" · "));
      mark.hidden = !own || !this.#draft.declares("space") || (known !== undefined && describe(known) === describe(parameter) && same(known.when ?? {}, parameter.when ?? {}));
      setText(mark, known ? `declared: ${describe(known)}` : "not declared by the workload");
    }
  }

  /** What the workload has and the study does not search. */
  #left() {
    if (!this.#draft.spaceIsPart) return [];
    const searched = new Set(this.#draft.list(["space"]).map((parameter) => parameter?.name));
    return (this.#draft.declared("space") ?? []).filter(({ name }) => !searched.has(name));
  }

  #parameter(place) {
    const found = this.#draft.get(["space", place]);
    return isMapping(found) ? found : {};
  }

  #line(place) {
    const title = element("span", { class: "parameter-name" });
    const text = element("span", { class: "parameter-text" });
    const mark = element("span", { class: "parameter-mark", hidden: true });
    const error = element("p", { class: "field-error" });
    const body = element("div", { class: "parameter-body" });
    const node = element("details", { class: "parameter" }, element("summary", {}, title, text, mark), error, body);
    this.#fields.anchor(["space", place], node, error);
    // Fields are made when they are first looked at: spaces may have hundreds of parameters.
    node.addEventListener("toggle", () => node.open && !body.hasChildNodes() && this.#fill(place, body));
    return { place, node, title, text, mark, body };
  }

  #fill(place, body) {
    const parameter = this.#parameter(place);
    const make = (name, options) => this.#fields.make(["space", place, name], options);
    const type = make("type", { label: "Type", kind: "choice", choices: TYPES });
    type.querySelector("select").addEventListener("change", () => this.#retype(place, body));
    const own = isNumeric(parameter)
      ? [
          make("low", { label: "From", kind: "number" }),
          make("high", { label: "To", kind: "number" }),
          make("log", { label: "Logarithmic", kind: "choice", choices: YES }),
          make("step", { label: "Step", kind: "number", placeholder: "none" }),
          make("default", { label: "Default", kind: "number", placeholder: "the middle" }),
        ]
      : [
          make("choices", { label: "Choices", kind: "list", wide: true, hint: "With commas between them; text that looks like a number stands in double quotes" }),
          make("default", { label: "Default", kind: "value", placeholder: "the first" }),
        ];
    const button = (text, on, disabled = false) => element("button", { type: "button", class: "button", text, disabled, on: { click: on } });
    body.replaceChildren(
      element("div", { class: "field-grid" }, make("name", { label: "Name" }), type, ...own),
      ...this.#conditions(place, body),
      element(
        "div",
        { class: "actions" },
        button("Add condition", () => this.#addCondition(place, body), this.#parents(place).length === 0),
        button("Move up", () => this.#move(place), place === 0),
        button("Remove parameter", () => this.#remove(place)),
      ),
    );
  }

  #parents(place) {
    const taken = Object.keys(this.#parameter(place).when ?? {});
    return this.#draft.list(["space"]).slice(0, place).filter((earlier) => isMapping(earlier) && !taken.includes(earlier.name)).map(({ name }) => name);
  }

  #conditions(place, body) {
    const { when } = this.#parameter(place);
    return Object.keys(isMapping(when) ? when : {}).map((parent) => {
      const values = this.#fields.make(["space", place, "when", parent], { label: `Only when ${parent} is`, kind: "list", wide: true, hint: "One value, or several with commas between them" });
      const remove = element("button", { type: "button", class: "button", text: "Remove", "aria-label": `Remove the condition on ${parent}` });
      remove.addEventListener("click", () => {
        this.#draft.set(["space", place, "when", parent], undefined);
        this.#fill(place, body);
        this.#changed();
      });
      return element("div", { class: "condition" }, values, remove);
    });
  }

  #addCondition(place, body) {
    const parent = this.#parents(place).at(-1);
    const declared = this.#draft.list(["space"]).find((parameter) => parameter.name === parent);
    this.#draft.set(["space", place, "when", parent], declared.choices ? [declared.choices[0]] : [declared.low]);
    this.#fill(place, body);
    [...body.querySelectorAll(".condition input")].at(-1).focus();
    this.#changed();
  }

  /** Another kind of parameter has other fields; what the old one said by them means nothing any more. */
  #retype(place, body) {
    const parameter = this.#parameter(place);
    const kept = Object.entries(parameter).filter(([name]) => SHARED.includes(name) || (OWN[parameter.type] ?? []).includes(name));
    if (isNumeric(parameter) !== "low" in parameter) kept.splice(kept.findIndex(([name]) => name === "default") >>> 0, 1);
    const start = isNumeric(parameter) ? { low: 0, high: 1 } : { choices: [] };
    this.#draft.set(["space", place], { ...start, ...Object.fromEntries(kept) });
    this.#fill(place, body);
    body.querySelector("select").focus();
    this.#changed();
  }

  #add() {
    const list = this.#draft.list(["space"]);
    // The first one left out has all that it depends on.
    const [added = { name: freeName(list), type: "float", low: 0, high: 1 }] = this.#left();
    this.#draft.set(["space"], structuredClone([...list, added]));
    this.#redrawn(list.length, "input");
  }

  #remove(place) {
    const list = this.#draft.list(["space"]).toSpliced(place, 1);
    this.#draft.set(["space"], structuredClone(list));
    for (const line of this.#lines) line.node.open = false;
    this.#redrawn(Math.min(place, list.length - 1), "summary");
  }

  #move(place) {
    const list = [...this.#draft.list(["space"])];
    list.splice(place - 1, 0, ...list.splice(place, 1));
    this.#draft.set(["space"], structuredClone(list));
    for (const line of this.#lines) line.node.open = false;
    this.#redrawn(place - 1, "summary");
  }

  #reset() {
    this.#draft.forget("space");
    this.#redrawn(0, "summary");
  }

  #redrawn(place, target) {
    this.render();
    const line = this.#lines[place];
    if (!line) byId("add-parameter").focus();
    else if (target === "summary") line.node.querySelector("summary").focus();
    else {
      line.node.open = true;
      this.#fill(place, line.body);
      line.node.querySelector(target).focus();
    }
    this.#changed();
  }
}

/** That parameters which are not searched stay at their defaults; the first few by name. */
function atDefault(left) {
  if (left.length === 0) return "";
  const names = left.slice(0, 3).map(({ name }) => name);
  if (left.length > 3) names.push(`${left.length - 3} more`);
  const text = names.length === 1 ? names[0] : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
  return `; ${text} ${left.length === 1 ? "stays at its default" : "stay at their defaults"}`;
}

function freeName(list) {
  const names = new Set(list.map((parameter) => parameter?.name));
  let number = list.length + 1;
  while (names.has(`parameter_${number}`)) number += 1;
  return `parameter_${number}`;
}
