// Numbers and times as people read them.

const NOTHING = "–";
const exactly = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const clockTime = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
const shortTime = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hour12: false });
const fullTime = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium", hour12: false });

let skew = 0;

/** Hears what the engine's clock says: times are told by that, whatever this machine's says. */
export function engineClock(header) {
  const told = Date.parse(header ?? "");
  if (Number.isNaN(told)) return;
  const ahead = told - Date.now();
  // the header has whole seconds, and was on its way for a while
  skew = Math.abs(ahead) < 5000 ? 0 : ahead;
}

/** The present, by the engine's clock. */
export function now() {
  return Date.now() + skew;
}

function scaled(value, base, units) {
  let at = 0;
  let rest = value;
  while (Math.abs(rest) >= base && at < units.length - 1) {
    rest /= base;
    at += 1;
  }
  const digits = at === 0 || Math.abs(rest) >= 100 ? 0 : 1;
  // 999.96 is 1000, and that is the next unit's
  if (at < units.length - 1 && Number(rest.toFixed(digits)) >= base) return `${(rest / base).toFixed(1)} ${units[at + 1]}`;
  const shown = at === 0 && !Number.isInteger(rest) && Math.abs(rest) < 10 ? rest.toFixed(1) : rest.toFixed(digits);
  return `${shown} ${units[at]}`.trim();
}

/** A number, shortened: 1.2 k. */
export function count(value) {
  return value === null || value === undefined ? NOTHING : scaled(value, 1000, ["", "k", "M", "G", "T"]);
}

/** A number, in full. */
export function exact(value) {
  return value === null || value === undefined ? NOTHING : exactly.format(value);
}

/** Bytes: 1.5 MiB. */
export function bytes(value) {
  return value === null || value === undefined ? NOTHING : scaled(value, 1024, ["B", "KiB", "MiB", "GiB", "TiB"]);
}

/** Bytes per second. */
export function byteRate(value) {
  return value === null || value === undefined ? NOTHING : `${bytes(value)}/s`;
}

/** Records per second. */
export function recordRate(value) {
  return value === null || value === undefined ? NOTHING : `${count(value)}/s`;
}

/** Seconds: 0.4 s, 12 s, 3 min, 2.5 h, 4 d. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return NOTHING;
  const short = (value) => (value < 10 ? String(Number(value.toFixed(1))) : value.toFixed(0));
  if (seconds < 0.05) return "0 s";
  if (seconds < 60) return `${short(seconds)} s`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min`;
  if (seconds < 86400) return `${short(seconds / 3600)} h`;
  return `${short(seconds / 86400)} d`;
}

/** How long ago a time is, such as "for 3 min". */
export function lasting(iso) {
  const at = Date.parse(iso);
  return Number.isNaN(at) ? "" : `for ${duration(Math.max(0, Math.round((now() - at) / 1000)))}`;
}

/** How long it is until a time, such as "in 8 s". */
export function ahead(iso) {
  const seconds = Math.round((Date.parse(iso) - now()) / 1000);
  return seconds > 0 ? `in ${duration(seconds)}` : "now";
}

/** A time of the day, with seconds. */
export function clock(at) {
  return clockTime.format(at);
}

/** A time of the day. */
export function minutes(at) {
  return shortTime.format(at);
}

/** A day and a time. */
export function whole(at) {
  return fullTime.format(at);
}

/** Several of something: `plural(2, "route")`. */
export function plural(number, noun) {
  return `${exact(number)} ${noun}${number === 1 ? "" : "s"}`;
}
