// Values of parameters and options as people type them: 0.1, true, dart; lists have commas between them.

/** The value of a text; undefined when there is none. What is no number, true, false or JSON is a text. */
export function readValue(text) {
  const trimmed = text.trim();
  if (trimmed === "") return undefined;
  try {
    const value = JSON.parse(trimmed);
    // What JavaScript cannot hold exactly stays as it was typed, for the service to refuse.
    const lost = typeof value === "number" && (!Number.isFinite(value) || (Number.isInteger(value) && !Number.isSafeInteger(value)));
    return lost || value === null ? trimmed : value;
  } catch {
    return trimmed;
  }
}

// What truth values and nothing are written as, here and in Python.
const WORDS = /^(true|false|none|null|nan|–)$/i;

/** A text as it is; in quotes where it would read as a number, a truth value, nothing, or something else of JSON. */
export function writeText(text) {
  const misleads = readValue(text) !== text || !Number.isNaN(Number(text)) || WORDS.test(text);
  return misleads ? JSON.stringify(text) : text;
}

/** A text from which `readValue` reads the same value. */
export function writeValue(value) {
  if (value === undefined || value === null) return "";
  return typeof value === "string" ? writeText(value) : JSON.stringify(value);
}

const ITEM = /\s*("(?:[^"\\]|\\.)*"|[^,]*)(?:,|$)/gy;

/** The values of a list; an item with a comma in it stands in double quotes. */
export function readList(text) {
  const items = [];
  for (const [, item] of text.matchAll(ITEM)) items.push(readValue(item));
  return items.filter((item) => item !== undefined);
}

export function writeList(values) {
  if (!Array.isArray(values)) return writeValue(values);
  return values.map((value) => (typeof value === "string" && /[,"]/.test(value) ? JSON.stringify(value) : writeValue(value))).join(", ");
}

/** A number, or what was typed instead, for the service to say what is wrong with it. */
export function readNumber(text) {
  const value = readValue(text);
  return typeof value === "number" || value === undefined ? value : text.trim();
}

export const isMapping = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

/** Whether two JSON values are equal, whatever the order of their keys. */
export function same(a, b) {
  return canonical(a) === canonical(b);
}

function canonical(value) {
  return JSON.stringify(value, (_, part) => (isMapping(part) ? Object.fromEntries(Object.entries(part).sort(([a], [b]) => (a < b ? -1 : 1))) : part));
}
