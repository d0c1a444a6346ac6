// What was measured safe of each knob, in the context that the database is in now.

import { changes, knobValue } from "./tuning_words.js";

/** The cluster of contexts that the newest judged interval is of; 0 before there is one. */
export function clusterNow(intervals) {
  return intervals.find((interval) => !interval.skipped)?.cluster ?? 0;
}

/**
 * Values of each knob in the safe intervals of one cluster, and those of unsafe intervals that lie outside of them.
 *
 * A value that was safe at another time is not to blame for an unsafe interval.
 */
export function regions({ session, former, intervals }, cluster) {
  const judged = intervals.filter((interval) => !interval.skipped && (interval.cluster ?? 0) === cluster);
  const config = (interval) => ({ ...former, ...interval.config });
  const safe = judged.filter((interval) => !interval.unsafe && interval.performance !== null).map(config);
  const unsafe = judged.filter((interval) => interval.unsafe).map(config);
  return Object.fromEntries(
    Object.keys(former).map((name) => {
      const knob = session.knobs[name] ?? {};
      const held = ordered(safe.map((settings) => settings[name]), knob);
      const within = (value) => (isChoice(knob) ? held.includes(value) : held.length > 0 && value >= held[0] && value <= held.at(-1));
      const suspect = unsafe.filter((settings) => changes(former, settings).some(([changed]) => changed === name));
      return [name, { safe: held, unsafe: ordered(suspect.map((settings) => settings[name]), knob).filter((value) => !within(value)) }];
    }),
  );
}

/** "4096 to 16384", or the choices; a dash where nothing was measured. */
export function regionText({ safe }, knob) {
  if (safe.length === 0) return "–";
  if (isChoice(knob)) return safe.map(knobValue).join(", ");
  return safe.length === 1 ? knobValue(safe[0]) : `${knobValue(safe[0])} to ${knobValue(safe.at(-1))}`;
}

/** Where a value lies in a knob's range, from 0 to 1, on the knob's own scale. */
export function place(value, knob) {
  if (knob.type === "bool") return Number(value);
  if (isChoice(knob)) return Math.max(0, knob.choices.indexOf(value)) / Math.max(1, knob.choices.length - 1);
  const bend = knob.scale === "log" && knob.low > 0 ? Math.log : (number) => number;
  const share = (bend(value) - bend(knob.low)) / (bend(knob.high) - bend(knob.low));
  // Special values, such as 0 for "off", lie outside of the range.
  return Number.isFinite(share) ? Math.min(1, Math.max(0, share)) : 0;
}

export const isChoice = (knob) => knob.type === "bool" || (knob.choices?.length ?? 0) > 0;

function ordered(values, knob) {
  const once = [...new Set(values.filter((value) => value !== undefined))];
  return once.sort((a, b) => (isChoice(knob) ? place(a, knob) - place(b, knob) : a - b));
}
