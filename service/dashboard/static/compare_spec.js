// What was asked of a study, as named texts that can be put side by side.

import { amount, duration, setting } from "./format.js";

// Of many choices so many are told.
const CHOICES = 12;

/** Groups of pairs of name and text: [group, [[name, text], ...]]. */
export function described(spec) {
  return [
    ["Workload", [["workload", spec.workload], ...pairs(spec.command ?? {}), ...pairs(spec.data)]],
    ["Objectives", spec.objectives.map((objective) => [objective.metric, objectiveText(objective)])],
    ["Resource", spec.fidelity ? [[spec.fidelity.name, fidelityText(spec.fidelity)]] : []],
    ["Optimizer", [["optimizer", spec.optimizer.name], ...pairs(spec.optimizer.settings), ["seed", String(spec.seed)], ["warm start", spec.warm_start.join(", ")]]],
    ["Budget", [...budget(spec.budget), ["parallel trials", String(spec.parallel)], ...pairs(spec.resources ?? {}, "per trial: ")]],
    ["Limits", pairs(spec.limits)],
    ["Space", (spec.space ?? []).map((parameter) => [parameter.name, parameterText(parameter)])],
  ];
}

function budget({ trials, seconds, cluster_seconds: cluster, patience, target }) {
  return [
    ["trials", trials === null ? "" : String(trials)],
    ["time", seconds === null ? "" : duration(seconds)],
    ["cluster time", cluster === null ? "" : duration(cluster)],
    ["patience", patience === null ? "" : `${patience} trials`],
    ["target", target === null ? "" : setting(target)],
  ];
}

function objectiveText({ direction, bound, unit }) {
  const aim = bound === null ? direction : `at ${direction === "maximize" ? "least" : "most"} ${setting(bound)}`;
  return unit ? `${aim} (${unit})` : aim;
}

function fidelityText({ min, max, unit }) {
  return `${amount(min)} to ${amount(max)}${unit ? ` ${unit}` : ""}`;
}

function parameterText({ type, low, high, log, step, choices, default: usual, when }) {
  const told = choices ? list(choices) : `${setting(low)} to ${setting(high)}`;
  const parts = [
    `${type}: ${told}`,
    log ? "logarithmic" : "",
    step ? `step ${setting(step)}` : "",
    usual === null || usual === undefined ? "" : `default ${setting(usual)}`,
    ...Object.entries(when ?? {}).map(([parent, values]) => `if ${parent} is ${[values].flat().map(setting).join(" or ")}`),
  ];
  return parts.filter(Boolean).join(", ");
}

function list(choices) {
  const shown = choices.slice(0, CHOICES).map(setting).join(", ");
  return choices.length > CHOICES ? `${shown} and ${choices.length - CHOICES} more` : shown;
}

function pairs(fields, before = "") {
  return Object.entries(fields).map(([name, value]) => [before + name.replaceAll("_", " "), value === null ? "" : setting(value)]);
}

/**
 * Rows for a table: [name, [text of each]], grouped.
 *
 * @param each one list of groups for each study, as `described` makes them; what one does not have is empty.
 */
export function sideBySide(each) {
  return each[0].map(([group], at) => {
    const maps = each.map((groups) => new Map(groups[at][1]));
    const names = [...new Set(maps.flatMap((map) => [...map.keys()]))];
    return [group, names.map((name) => [name, maps.map((map) => map.get(name) ?? "")])];
  });
}

export const differs = (texts) => texts.some((text) => text !== texts[0]);
