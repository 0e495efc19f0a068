// What is known of the engine, asked for again and again, and heard as it happens. Views look here, and are told when it is new.

import { NoContact, Problem, ask, paths, token } from "./api.js";
import { signIn } from "./dialogs.js";
import { now } from "./format.js";
import { listen } from "./stream.js";

const EVERY = 2_000;
const HIDDEN = 15_000;
const HISTORY = 10_000;
/** Rates are measured over so long. */
const WINDOW = 8_000;
const EVENTS = 1_000;

export const store = {
  /** All routes, once they are known. */
  routes: null,
  /** The route that is looked at, with its partitions: `null` where it is not known yet, `false` where there is none. */
  detail: null,
  /** The last hour, by route. */
  histories: new Map(),
  /** Events, newest first: `{ key, at, level, kind, route, target, text }`. */
  events: [],
  /** Whether the engine answers, and when it did last. */
  contact: { lost: false, last: null },
};

const watchers = new Set();
const wanted = { route: null, histories: [] };
const asked = new Map();
let wake = () => {};

/** Has a function called whenever something is new. */
export function watch(watcher) {
  watchers.add(watcher);
}

function tell() {
  for (const watcher of watchers) watcher();
}

/** What is looked at: a route, or all of them. */
export function look(route) {
  wanted.route = route;
  store.detail = null;
  poke();
}

/** Asks again at once. */
export function poke() {
  wake();
}

/** Takes a route as an order has left it. */
export function apply(view) {
  if (store.routes) store.routes = store.routes.map((route) => (route.name === view.name ? view : route));
  if (store.detail?.name === view.name) store.detail = { ...store.detail, ...view };
  tell();
}

/** Asks as long as the page is there. */
export async function run() {
  hear();
  document.addEventListener("visibilitychange", poke);
  for (;;) {
    await refresh();
    await new Promise((done) => {
      const timer = setTimeout(done, document.hidden ? HIDDEN : EVERY);
      wake = () => {
        clearTimeout(timer);
        done();
      };
    });
  }
}

async function refresh() {
  let again = false;
  wake = () => {
    again = true;
  };
  try {
    do {
      again = false;
      await refreshOnce();
    } while (again);
  } catch (error) {
    if (error instanceof Problem && error.status === 401) {
      await locked();
    } else if (error instanceof NoContact || error instanceof Problem) {
      store.contact.lost = true;
    } else {
      throw error;
    }
  }
  tell();
}

async function refreshOnce() {
  const { routes } = await ask(paths.routes);
  measure(routes);
  store.routes = routes;
  store.contact = { lost: false, last: Date.now() };
  tell();
  const { route } = wanted;
  if (route !== null) await refreshDetail(route);
  await refreshHistories(route === null ? routes.map(({ name }) => name) : [route]);
}

async function refreshDetail(route) {
  let detail = false;
  try {
    detail = await ask(paths.route(route));
  } catch (error) {
    if (!(error instanceof Problem) || error.status !== 404) throw error;
  }
  if (wanted.route !== route) return;
  store.detail = detail;
  tell();
}

async function refreshHistories(routes) {
  const due = routes.filter((route) => performance.now() - (asked.get(route) ?? -Infinity) > HISTORY);
  for (const route of due) {
    try {
      store.histories.set(route, await ask(paths.history(route)));
      asked.set(route, performance.now());
    } catch (error) {
      // it went while the others were asked
      if (!(error instanceof Problem) || error.status !== 404) throw error;
    }
  }
  const known = new Set(store.routes.map(({ name }) => name));
  for (const route of store.histories.keys()) if (!known.has(route)) store.histories.delete(route);
}

let signingIn = null;

/** Waits until there is a token that is taken. */
function locked() {
  signingIn ??= signIn().finally(() => {
    signingIn = null;
  });
  return signingIn;
}

// What was counted lately, by route and by target.
const counts = new Map();

/** A counter's rates per second; null until they are known. `key` is a route's name, or [route, target]. */
export function rates(...key) {
  const seen = counts.get(JSON.stringify(key)) ?? [];
  const [first, last] = [seen[0], seen.at(-1)];
  if (seen.length < 2) return { records: null, bytes: null };
  const seconds = (last.at - first.at) / 1000;
  return { records: (last.records - first.records) / seconds, bytes: (last.bytes - first.bytes) / seconds };
}

function measure(routes) {
  const at = performance.now();
  const alive = new Set();
  for (const route of routes) {
    count(alive, at, [route.name], route);
    for (const target of route.targets) count(alive, at, [route.name, target.name], target);
  }
  for (const key of counts.keys()) if (!alive.has(key)) counts.delete(key);
}

function count(alive, at, names, { records, bytes }) {
  const key = JSON.stringify(names);
  alive.add(key);
  let seen = counts.get(key) ?? [];
  const last = seen.at(-1);
  // another life of the engine, or of the target, counts from zero; and over a long silence nothing is known
  if (last && (records < last.records || bytes < last.bytes || at - last.at > 30_000)) seen = [];
  // one from before the window is kept, so that the window is full
  while (seen.length > 1 && at - seen[1].at > WINDOW) seen.shift();
  counts.set(key, [...seen, { at, records, bytes }]);
}

// Each life of the engine numbers its events from 1. A life has a number here, which makes their keys.
let life = 0;
let place = null;

function hear() {
  const start = async () => {
    // a place that names its process says by itself when that is gone
    if (place?.includes("-")) return place;
    const { events } = await ask(paths.events);
    life += 1;
    store.events = events.map(noted);
    place = String(events[0]?.id ?? 0);
    tell();
    return place;
  };
  const heard = ({ id, event, data }) => {
    if (event === "lost") {
      life += 1;
      const at = new Date(now()).toISOString();
      add({ key: `lost-${life}`, at, kind: "console", level: "warning", text: data.detail });
    } else {
      place = id ?? place;
      add(noted(data));
    }
  };
  const broken = async (error) => {
    if (error instanceof Problem && error.status === 401) await locked();
    // an id that it does not take any more
    if (error instanceof Problem && error.status === 400) place = null;
    poke();
  };
  listen(start, heard, broken);
}

function noted(event) {
  return { ...event, key: `${life}-${event.id}` };
}

function add(event) {
  if (store.events.some(({ key }) => key === event.key)) return;
  store.events = [event, ...store.events].slice(0, EVENTS);
  tell();
}

/** Whether this tab has a token. */
export function hasToken() {
  return token() !== null;
}
