// What came of an interval, and where a session stands, in words.

import { duration, measured, sentence, setting } from "./format.js";

const FINAL = new Set(["finished", "stopped", "yielded", "failed"]);

export const isFinal = (session) => FINAL.has(session.state);
/** Whether it is over and has left its best settings in place; stopping takes them back. */
export const keeps = (session) => session.state === "finished" && session.mode === "apply" && session.spec.keep;

/** A setting as servers write it. */
export function knobValue(value) {
  if (typeof value === "boolean") return value ? "on" : "off";
  return typeof value === "string" ? value : setting(value);
}

/** A share with its sign: "+12.3 %". */
export function gain(share) {
  if (share === null || share === undefined || !Number.isFinite(share)) return "–";
  return `${share > 0 ? "+" : share < 0 ? "−" : ""}${Math.abs(100 * share).toFixed(1)} %`;
}

/** How much better than the former settings are expected to have done; null where one of both is not known. */
export function improvement(interval, maximize) {
  const { performance, expected } = interval;
  if (!performance || !expected) return null;
  return (maximize ? performance / expected : expected / performance) - 1;
}

/** Knobs whose values differ: [name, before, after]. */
export function changes(before, after) {
  return Object.entries(after ?? {})
    .filter(([name, value]) => name in before && before[name] !== value)
    .map(([name, value]) => [name, before[name], value]);
}

/** Settings that an interval is about: in the mode `advice` those that were suggested. */
export function settingsOf(interval, mode) {
  return (mode === "advice" ? interval.suggested : null) ?? interval.config;
}

export function changeText([name, before, after], knobs) {
  const unit = knobs[name]?.unit;
  return `${name} ${knobValue(before)} → ${knobValue(after)}${unit ? ` ${unit}` : ""}`;
}

/** One word for the eye: skipped, aborted, unsafe, unmeasured, safe. */
export function verdict(interval) {
  if (interval.skipped) return "skipped";
  if (interval.aborted) return "aborted";
  if (interval.unsafe) return "unsafe";
  return interval.performance === null ? "unmeasured" : "safe";
}

/** Whether settings were judged unsafe, or were not waited for to the end. */
export const isBad = (interval) => interval.unsafe || interval.aborted;

export function verdictText(interval, mode) {
  if (mode === "advice" && verdict(interval) === "safe") return "as it stands";
  const early = `ended early after ${duration(interval.seconds)}`;
  return {
    skipped: "not judged",
    aborted: interval.unsafe ? `unsafe, ${early}` : early,
    unsafe: "unsafe",
    unmeasured: "could not be measured",
    safe: interval.kind === "reference" ? "former settings" : "safe",
  }[verdict(interval)];
}

/** "throughput", or "throughput 70 %, latency_p95 30 %". */
export function objectiveText(objective) {
  const entries = Object.entries(objective);
  if (entries.length === 1) return entries[0][0];
  const whole = entries.reduce((sum, [, weight]) => sum + weight, 0);
  return entries.map(([name, weight]) => `${name} ${Math.round((100 * weight) / whole)} %`).join(", ");
}

/** A performance with its unit. */
export function performanceText(value, unit) {
  return value === null || value === undefined ? "–" : `${measured(value)}${unit ? ` ${unit}` : ""}`;
}

/** What a session's state means for the database, for people; null where the state's name says it all. */
export function meaning(session) {
  const reason = session.reason ? sentence(session.reason) : "";
  const stopping = !isFinal(session) && session.wanted === "stop";
  if (stopping && session.state !== "restoring") return "Stopping: the former settings are being put back.";
  if (session.wanted === "pause" && session.state !== "paused" && !isFinal(session)) return "Pausing: the former settings are being put back.";
  const told = {
    pending: "It has not begun; nothing is changed.",
    waiting: `There is too little traffic to judge settings by. The former settings are in place, and it goes on by itself. ${reason}`,
    paused: `The former settings are in place. Resume goes on with everything that was learned. ${reason}`,
    restoring: `The former settings are not back yet. It goes on trying. ${reason}`,
    yielded: `Somebody else changed what was tuned here, so the session has ended. ${reason}`,
    failed: reason || "It failed.",
    finished: `${ended(session)} ${reason}`,
    stopped: `${ended(session)} ${reason}`,
    running: session.mode === "advice" ? `Advice only: it changes nothing, and lists below what it would set. ${reason}` : reason,
  }[session.state];
  return told?.trim() || null;
}

/** What a session that is over has left on the server. */
function ended({ mode, former, current }) {
  if (mode === "advice") return "It has changed nothing.";
  const kept = Object.entries(former ?? {}).some(([name, { value }]) => current && name in current && current[name] !== value);
  return kept ? "The best safe settings were left in place." : "The former settings are back.";
}
