// Values, durations and times as people read them.

import { writeText } from "./values.js";

const LOCALE = "en";

/** A measured value with four significant digits, trailing zeros kept so that columns line up. */
export function measured(value) {
  if (typeof value !== "number" || !Number.isFinite(value)) return value == null ? "–" : String(value);
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(3);
  return size >= 1000 ? value.toLocaleString(LOCALE, { maximumFractionDigits: 0 }) : value.toPrecision(4);
}

/** A value of a configuration: whole numbers as they are, others with four significant digits at most. */
export function setting(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value === "string") return writeText(value);
  if (typeof value !== "number") return typeof value === "object" ? JSON.stringify(value) : String(value);
  if (Number.isInteger(value)) return Math.abs(value) < 1e15 ? String(value) : value.toExponential(3);
  const size = Math.abs(value);
  if (size < 1e-4 || size >= 1e6) return value.toExponential(2);
  return String(Number(value.toPrecision(4)));
}

/** A whole number with thousands separators. */
export function count(value) {
  return value.toLocaleString(LOCALE);
}

/** An amount of a resource, such as 81 or 0.25. */
export function amount(value) {
  return Number.isInteger(value) ? count(value) : setting(value);
}

/** Seconds as "0.84 s", "42 s", "3 min 5 s", "2 h 10 min", "4 d 3 h". */
export function duration(seconds) {
  if (seconds == null || !Number.isFinite(seconds)) return "–";
  if (seconds < 9.95) return `${Math.max(0, seconds).toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return join(Math.floor(whole / 60), "min", whole % 60, "s");
  const minutes = Math.round(seconds / 60);
  if (minutes < 1440) return join(Math.floor(minutes / 60), "h", minutes % 60, "min");
  const hours = Math.round(seconds / 3600);
  return join(Math.floor(hours / 24), "d", hours % 24, "h");
}

function join(major, majorUnit, minor, minorUnit) {
  return minor ? `${major} ${majorUnit} ${minor} ${minorUnit}` : `${major} ${majorUnit}`;
}

/** An estimate of the time left, no more precise than it deserves. */
export function estimate(seconds) {
  if (seconds < 5) return "a few seconds";
  if (seconds < 60) return `${Math.ceil(seconds / 5) * 5} s`;
  if (seconds < 600) return duration(Math.ceil(seconds / 15) * 15);
  return duration(Math.ceil(seconds / 60) * 60);
}

/** A share from 0 to 1 in percent; 100 % only for a whole. */
export function percent(share) {
  const value = share >= 1 ? 100 : Math.min(99, Math.floor(share * 100));
  return `${value} %`;
}

const TODAY = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const EARLIER = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });

const LONG_AGO = new Intl.DateTimeFormat(undefined, { year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" });

/** A moment in the reader's own time zone; the date only when it isn't today, the year when it isn't this one. */
export function moment(iso) {
  if (!iso) return "–";
  const then = new Date(iso);
  const now = new Date();
  if (then.toDateString() === now.toDateString()) return TODAY.format(then);
  return (then.getFullYear() === now.getFullYear() ? EARLIER : LONG_AGO).format(then);
}

/** What the service says in passing, as a sentence of its own. */
export function sentence(text) {
  const capital = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(capital) ? capital : `${capital}.`;
}
