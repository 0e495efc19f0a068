// States, and how they are shown: by a word, a shape and a tone, so that none of the three is needed alone.

import { attr, el, icon, text } from "./dom.js";

const TONES = {
  running: "good",
  throttled: "note",
  starting: "note",
  draining: "note",
  detached: "warn",
  retrying: "warn",
  degraded: "warn",
  blocked: "bad",
  failed: "bad",
  paused: "rest",
  off: "rest",
  stopped: "rest",
};
const SHAPES = { draining: "starting", degraded: "attention", stopped: "off" };

/** Where somebody has to look, the worst first. */
const URGENT = ["failed", "blocked", "retrying", "detached"];

/** How grave a state is: good, note, warn, bad or rest. */
export function tone(state) {
  return TONES[state] ?? "note";
}

/** A badge: `{ node, update(state) }`. */
export function badge() {
  const word = el("span");
  let shown = null;
  const node = el("span", { class: "badge" }, icon("off"), word);
  const update = (state) => {
    if (state === shown) return;
    shown = state;
    attr(node, "data-tone", tone(state));
    attr(node.querySelector("use"), "href", `#i-${SHAPES[state] ?? (state in TONES ? state : "event")}`);
    text(word, state);
  };
  return { node, update };
}

/** How urgent a state is; 0 is the most. Infinity where nobody has to look. */
function urgency(state) {
  const at = URGENT.indexOf(state);
  return at < 0 ? Infinity : at;
}

/** What needs attention, the worst first: `{ route, target, state, reason, since }`; the target is null where the route itself does. */
export function troubles(routes) {
  const found = [];
  for (const route of routes) {
    const targets = route.enabled ? route.targets.filter((target) => urgency(target.state) < Infinity) : [];
    for (const target of targets) {
      found.push({ route: route.name, target: target.name, state: target.state, reason: target.reason, since: target.since });
    }
    const own = route.state === "failed" || (route.state === "degraded" && !targets.length && !route.targets.some(({ paused }) => paused));
    if (own) found.unshift({ route: route.name, target: null, state: route.state, reason: route.reason, since: route.since });
  }
  const rank = ({ state }) => (state === "degraded" ? 2 : urgency(state));
  return found.sort((one, other) => rank(one) - rank(other));
}

/** Whether a route is as it should be and moves records, or has none to move. */
export function copies(route) {
  return route.enabled && route.state === "running";
}

/** What somebody has switched by hand, so that it differs from the config: texts, with their places. */
export function byHand(routes) {
  const found = [];
  for (const route of routes) {
    if (route.enabled !== route.enabled_in_config) {
      found.push({ route: route.name, target: null, what: route.enabled ? "switched on; the config says off" : "switched off; the config says on" });
    }
    for (const target of route.targets) {
      if (target.paused) found.push({ route: route.name, target: target.name, what: "paused" });
      if (target.bandwidth !== target.bandwidth_in_config) {
        found.push({ route: route.name, target: target.name, what: `${target.bandwidth}; the config says ${target.bandwidth_in_config}` });
      }
    }
  }
  return found;
}
