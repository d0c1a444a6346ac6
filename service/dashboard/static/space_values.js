// Which values a search space allows; the service has the last word, this is for while one types.

import { setting } from "./format.js";
import { writeList } from "./values.js";

/** What is wrong with a value of a parameter; null when nothing is. */
export function problemOf(parameter, value) {
  const { type, low, high, step, choices } = parameter;
  if (choices) return choices.some((choice) => choice === value) ? null : `One of ${writeList(choices)}`;
  if (typeof value !== "number") return "A number is needed";
  if (value < low || value > high) return `From ${setting(low)} to ${setting(high)}`;
  if (type === "int" && !Number.isInteger(value)) return "A whole number is needed";
  const cell = (value - low) / (step ?? 1);
  if (step && Math.abs(cell - Math.round(cell)) > 1e-6) return `In steps of ${setting(step)} from ${setting(low)}`;
  return null;
}

/** What a configuration leaves out, completed as far as conditions go: active parameters with their values. */
export function activeValues(space, config) {
  const values = new Map();
  for (const parameter of space) {
    const conditions = Object.entries(parameter.when ?? {});
    if (!conditions.every(([parent, allowed]) => values.has(parent) && allowed.includes(values.get(parent)))) continue;
    values.set(parameter.name, config[parameter.name] ?? defaultOf(parameter));
  }
  return values;
}

/** The value that stands for a parameter about which nothing is said. */
export function defaultOf({ type, low, high, log, step, choices, default: declared }) {
  if (declared !== null && declared !== undefined) return declared;
  if (choices) return choices[0];
  if (log) return type === "int" ? Math.floor(Math.sqrt((low - 0.5) * (high + 0.5)) + 0.5) : Math.sqrt(low * high);
  if (type === "float" && !step) return (low + high) / 2;
  const cells = Math.floor((high - low) / (step ?? 1) + 1e-9) + 1;
  return low + Math.floor(cells / 2) * (step ?? 1);
}
