// Why the settings of an interval were chosen, and who changed a knob.

import { sentence } from "./format.js";
import { gain, isBad } from "./tuning_words.js";

/** Why the settings of an interval were chosen. */
export function reasons(interval) {
  if (interval.skipped) return sentence(interval.skipped);
  const why = interval.why ?? {};
  const told = [];
  if (why.rule) told.push(why.rule === "reference" ? "the former settings, to learn what they do" : String(why.rule));
  if (why.searched) told.push(`searched ${why.searched}`);
  if (interval.kind && interval.kind !== "reference" && interval.gain !== null) {
    told.push(`expected ${gain(interval.gain)}${interval.lower === null ? "" : `, at worst ${gain(interval.lower)}`}`);
  }
  if (why["advised by rule"]) told.push(`advised by the rule ${why["advised by rule"]}`);
  if (why["tests rule"]) told.push(`tests the rule ${why["tests rule"]}`);
  if (why["against rules"]?.length) told.push(`held back by ${why["against rules"].join(", ")}`);
  return told.length ? sentence(told.join("; ")) : "";
}

/**
 * Who changed a knob at the beginning of an interval: "model", "rule", or "back" where it went back.
 *
 * Knobs go back when the former settings are measured again, and after an unsafe interval, to where they stood before it.
 */
export function changedBy([name, , value], story, i) {
  const { interval } = story[i];
  const why = interval.why ?? {};
  if (interval.kind === "reference") return "back";
  const last = story[i - 1];
  if (last && isBad(last.interval) && last.before[name] === value) return "back";
  const byRule = why["advised by rule"] || why["tests rule"] || String(why.searched ?? "").includes("advice of rules");
  return byRule ? "rule" : "model";
}
