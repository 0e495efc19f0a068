// What is ordered by hand: routes switched, targets paused, bandwidths set, the config read again.

import { ask, paths } from "./api.js";
import { confirm, explain, note } from "./dialogs.js";
import { apply, poke } from "./store.js";

/** Gives an order, and says what became of it; whether it was done. */
async function give(path, method, done) {
  try {
    apply(await ask(path, { method }));
    note(done);
    return true;
  } catch (error) {
    note(explain(error), { failed: true });
    return false;
  } finally {
    poke();
  }
}

/** Switches a route on or off; off only after a question. */
export async function switchRoute(route, on) {
  if (on) return give(paths.order(route, "start"), "POST", `${route} is switched on`);
  const detail = `Nothing of it is copied by this process until it is switched on again, also after a restart. What is in flight is finished first.`;
  const sure = await confirm({ title: `Switch route ${route} off?`, detail, action: "Switch off" });
  return sure && give(paths.order(route, "stop"), "POST", `${route} is switched off`);
}

/** Pauses a target, after a question, or lets it go on. */
export async function pauseTarget(route, target, paused) {
  if (!paused) return give(paths.target(route, target, "resume"), "POST", `${target} goes on`);
  const detail = `Route ${route} does not write to it until it is resumed, also after a restart. The other targets go on.`;
  const sure = await confirm({ title: `Pause ${target}?`, detail, action: "Pause" });
  return sure && give(paths.target(route, target, "pause"), "POST", `${target} is paused`);
}

/** Sets a target's bandwidth. Gives what is wrong with the rate; empty where it was set. */
export async function setBandwidth(route, target, rate) {
  try {
    apply(await ask(paths.target(route, target, "bandwidth"), { method: "PUT", body: { rate } }));
    note(`${target} is limited to ${rate}`.replace("limited to unlimited", "not limited any more"));
    return "";
  } catch (error) {
    return explain(error);
  } finally {
    poke();
  }
}

/** Has the config read again. */
export async function reload() {
  try {
    const { changes = [] } = await ask(paths.reload, { method: "POST", signal: AbortSignal.timeout(60_000) });
    note(changes.length ? "The config was read again. What changed:" : "The config was read again: nothing differs.", { lines: changes });
  } catch (error) {
    note(`The config was not taken, and nothing changed: ${explain(error)}`, { failed: true });
  } finally {
    poke();
  }
}
