// Fields of a form: each has its place in a draft, a label, a hint, and room for what is wrong with it.

import { element, setText } from "./dom.js";
import { readList, readNumber, readValue, writeList, writeValue } from "./values.js";

const plain = { read: (text) => (text === "" ? undefined : text), write: (value) => (value == null ? "" : String(value)) };
const KINDS = {
  text: plain,
  long: plain,
  number: { read: readNumber, write: writeValue },
  value: { read: readValue, write: writeValue },
  list: { read: (text) => readList(text), write: writeList },
  // One a line: arguments may hold blanks and commas.
  lines: { read: (text) => text.split("\n").filter((line) => line !== ""), write: (lines) => (Array.isArray(lines) ? lines.join("\n") : plain.write(lines)) },
  // Words with commas or blanks between them.
  words: { read: (text) => wordsOf(text), write: (words) => (Array.isArray(words) ? words.join(", ") : plain.write(words)) },
  choice: { read: readValue, write: writeValue },
};

function wordsOf(text) {
  const words = text.split(/[\s,]+/).filter(Boolean);
  return words.length ? words : undefined;
}

let made = 0;

export class Fields {
  #draft;
  #changed;
  #known = new Map();
  #touched = new Set();
  #errors = [];
  #all = false;

  /** `changed` is called with a field's path after each edit. */
  constructor(draft, changed) {
    this.#draft = draft;
    this.#changed = changed;
  }

  /**
   * A labelled input for what stands at `path`.
   *
   * `kind` is a key of KINDS; `choices` are [value, text] pairs, with null where nothing is said; `suggestions` are texts that may be typed as well.
   */
  make(path, { label, kind = "text", hint, choices, placeholder, suggestions, wide = false, spelled = false }) {
    const id = `field-${(made += 1)}`;
    const { read, write } = KINDS[kind];
    const value = this.#draft.get(path);
    const described = `${id}-error${hint ? ` ${id}-hint` : ""}`;
    const attributes = { id, "aria-describedby": described, spellcheck: String(spelled), autocomplete: "off", placeholder };
    const input = control(kind, attributes, choices, suggestions, write(value));
    const error = element("p", { class: "field-error", id: `${id}-error` });
    const node = element(
      "div",
      { class: wide ? "field field-wide" : "field", data: { path: path.join(".") } },
      element("label", { for: id, text: label }),
      input,
      suggestions ? element("datalist", { id: `${id}-list` }, ...suggestions.map((text) => element("option", { value: text }))) : null,
      hint ? element("p", { class: "field-hint", id: `${id}-hint`, text: hint }) : null,
      error,
    );
    input.addEventListener("input", () => {
      this.#touched.add(path.join("."));
      this.#draft.set(path, read(input.value));
      this.#changed(path);
    });
    input.addEventListener("blur", () => {
      this.#touched.add(path.join("."));
      this.#draw();
    });
    this.#known.set(path.join("."), { node, input, error });
    return node;
  }

  /** Where errors go that no field inside of `node` has room for. */
  anchor(path, node, error) {
    this.#known.set(path.join("."), { node, input: null, error });
  }

  /**
   * Show what is wrong, at the fields that are known or else at what holds them.
   *
   * Fields that nobody has been to are not blamed, unless `all` is said once.
   */
  show(errors, all = false) {
    this.#errors = errors;
    this.#all ||= all;
    this.#draw();
  }

  /** Bring the field of an error into view, opening what hides it, and the keyboard to it. */
  reveal(field) {
    const found = this.#find(field);
    if (!found) return false;
    for (let node = found.node; node; node = node.parentElement?.closest("details")) if (node.tagName === "DETAILS") node.open = true;
    // What has just been opened may know the field better.
    const { node, input } = this.#find(field);
    const target = input ?? node.querySelector("summary, input, select, textarea, button") ?? node;
    target.focus();
    target.scrollIntoView({ block: "center" });
    return true;
  }

  #find(field) {
    for (let key = field; key; key = key.slice(0, Math.max(0, key.lastIndexOf(".")))) {
      const known = this.#known.get(key);
      if (known?.node.isConnected) return known;
    }
    return undefined;
  }

  #draw() {
    const texts = new Map();
    for (const { field, message } of this.#errors) {
      const known = this.#find(field);
      if (known && (this.#all || this.#touched.has(field) || known.input === null)) texts.set(known, [...(texts.get(known) ?? []), message]);
    }
    for (const known of this.#known.values()) {
      const text = texts.get(known)?.join("; ") ?? "";
      setText(known.error, text);
      known.node.toggleAttribute("data-bad", text !== "");
      if (known.input) known.input.setAttribute("aria-invalid", String(text !== ""));
    }
  }
}

function control(kind, attributes, choices, suggestions, text) {
  if (kind === "choice") {
    const known = choices.map(([value, label]) => [writeValue(value), label]);
    const all = text === "" || known.some(([value]) => value === text) ? known : [...known, [text, text]];
    const select = element("select", attributes, ...all.map(([value, label]) => element("option", { value, text: label })));
    select.value = text;
    // Where no choice stands for what is not said, the first one does.
    if (text === "" && select.selectedIndex < 0) select.selectedIndex = 0;
    return select;
  }
  if (kind === "long" || kind === "lines") {
    const area = element("textarea", { ...attributes, rows: kind === "long" ? 4 : 3 });
    area.value = text;
    return area;
  }
  const input = element("input", { ...attributes, type: "text", inputmode: kind === "number" ? "decimal" : null, list: suggestions ? `${attributes.id}-list` : null });
  input.value = text;
  return input;
}
