// Why a job was started, in words, from what the optimizer noted; and the numbers behind them.

import { amount, sentence, setting } from "./format.js";

const RULES = {
  random: () => "Drawn at random.",
  "random share": () => "A share of the trials is drawn at random, so that nothing is overlooked.",
  grid: ({ number }) => `Point ${number + 1} of the grid.`,
  "initial design": () => "One of the first configurations, which are spread over the space before a model can learn.",
  "declared defaults": () => "The space’s own defaults, trained whole: the study ends no worse than these.",
  "expected improvement": () => "Of all candidates, the model expects the largest improvement from this one.",
  "probability of feasibility": () => "Nothing within the bounds is known yet: this is the candidate that is most likely within them.",
  "expected hypervolume improvement": () => "Of all candidates, the model expects this one to move the Pareto front furthest.",
  "density ratio": ({ good, of }) => `Configurations like this one are much more common among the ${good} good ones of ${of} than among the rest.`,
  "no new candidate": () => "Nothing new was left near the good configurations, so it was drawn at random.",
  "no new child": () => "No new mixture of good configurations was left, so it was drawn at random.",
  "no new mutation": () => "No new change of a good configuration was left, so it was drawn at random.",
  mutation: ({ tournament, changed }) => `A changed copy of the best of ${tournament} trials that were drawn${changed?.length ? `; changed: ${changed.join(", ")}` : ""}.`,
  crossover: ({ parents }) => `Made of two good configurations${parents ? `, ranks ${parents.join(" and ")}` : ""}.`,
  enqueued: () => "Somebody enqueued this configuration.",
  "new trial": () => "A new configuration, to fill its bracket.",
  "new member": ({ number }) => `Member ${number + 1} of the population.`,
  "go on": ({ rank, of }) => `Rank ${rank} of ${of} in the population: it goes on as it is.`,
  copy: ({ instead_of: gone, rank, of, parent_rank: better }, { parent }) =>
    `A changed copy of trial ${parent} (rank ${better}) takes the place of trial ${gone} (rank ${rank} of ${of}).`,
  promotion: ({ rank, climb, of }) => (rank ? `Rank ${rank} of the ${of} that were measured there: good enough to go on.` : `Among the best ${climb} of ${of}: good enough to go on.`),
  "late promotion": ({ rank, of }) => `No new configuration is to come, so rank ${rank} of ${of} goes on.`,
  "finish the best": ({ rank, of }) => `The study would have ended without a whole trial, so its best one, rank ${rank} of ${of}, goes on.`,
};

const NAMES = {
  ei: "expected improvement",
  mean: "predicted value",
  deviation: "its uncertainty",
  feasible: "chance to be within bounds",
  seconds: "predicted seconds",
  theta: "precision of each rung",
  ensemble: "weight of each rung’s model",
  bracket_weights: "weights of the brackets",
  leg_overhead: "start of a leg, in whole trainings",
  log_ratio: "log of the ratio of densities",
  model_rung: "rung of the model",
  weights: "weights of the objectives",
  promoted: "promoted there before",
  needed: "needed there for a decision",
};

/** One sentence. */
export function reason(job) {
  const { rule } = job.why;
  if (!rule) return job.start > 0 ? "It went on." : "The optimizer gave no reason.";
  return Object.hasOwn(RULES, rule) ? RULES[rule](job.why, job) : sentence(String(rule));
}

/** The numbers behind it: pairs of name and value. */
export function figures({ why }) {
  return Object.entries(why)
    .filter(([name, value]) => name !== "rule" && value !== null)
    .map(([name, value]) => [NAMES[name] ?? name.replaceAll("_", " "), valueText(value)]);
}

function valueText(value) {
  if (Array.isArray(value)) return value.map(valueText).join(" · ");
  if (value !== null && typeof value === "object") return Object.entries(value).map(([name, each]) => `${name} ${valueText(each)}`).join(" · ");
  return setting(value);
}

/** Of what a job was: "from 3 to 9 epochs". */
export function leg({ start, end }, resource) {
  return `${amount(start)} to ${amount(end)} ${resource}`;
}
