// What happened: newest first, as it happens, by route and target.

import { attr, el, icon, keyed, show, text, unique } from "./dom.js";
import * as format from "./format.js";
import { store } from "./store.js";

const MORE = 100;
const TONES = { info: "note", warning: "warn", error: "bad" };
const SHAPES = { info: "event", warning: "attention", error: "failed" };

/**
 * A list of events under a heading: `few` at first, of `route` alone where there is one. `update(events, targets)`; where targets are
 * given, one of them can be chosen.
 */
export function feed({ few, heading, route = null }) {
  let shown = few;
  let known = [];
  let names = [];
  const list = el("ol", { class: "events" });
  const none = el("p", { class: "quiet-text", text: "Nothing has happened since this process started." });
  const more = el("button", { type: "button", class: "plain", text: "Show more" });
  const choice = picker("Target", "all targets", () => draw());
  const title = unique("events");
  const head = el("div", { class: "head" }, el("h2", { id: title, text: heading }), route === null ? null : choice.node);
  const node = el("section", { class: "panel", "aria-labelledby": title }, head, list, none, el("p", { class: "more" }, more));
  more.addEventListener("click", () => {
    shown += MORE;
    draw();
  });
  function draw() {
    const found = known.filter(wanted(route, choice.value()));
    keyed(list, found.slice(0, shown), ({ key }) => key, (event) => line(event, route));
    show(none, found.length === 0);
    show(more, found.length > shown);
  }
  const update = (events, targets = []) => {
    known = events;
    names = targets;
    choice.update(names);
    draw();
  };
  return { node, update };
}

/** The view of all events: `{ node, title, update() }`. */
export function eventsView() {
  const list = el("ol", { class: "events" });
  const none = el("p", { class: "quiet-text", text: "Nothing of this kind has happened." });
  const more = el("button", { type: "button", class: "plain", text: "Show more" });
  let shown = MORE;
  const routes = picker("Route", "all routes", () => update());
  const targets = picker("Target", "all targets", () => update());
  const head = el("div", { class: "head" }, el("h1", { tabindex: "-1", text: "Events" }), routes.node, targets.node);
  const node = el("div", { class: "view" }, el("section", { class: "panel", "aria-label": "Events" }, head, list, none, el("p", { class: "more" }, more)));
  more.addEventListener("click", () => {
    shown += MORE;
    update();
  });
  function update() {
    const all = store.routes ?? [];
    routes.update(all.map(({ name }) => name));
    const of = all.filter(({ name }) => routes.value() === null || name === routes.value());
    targets.update([...new Set(of.flatMap((route) => route.targets.map(({ name }) => name)))].sort());
    const found = store.events.filter(wanted(routes.value(), targets.value()));
    keyed(list, found.slice(0, shown), ({ key }) => key, (event) => line(event, null));
    show(none, found.length === 0);
    show(more, found.length > shown);
  }
  return { node, title: "Events", update };
}

/** Which events are shown; those that say that some are lost concern everybody. */
function wanted(route, target) {
  return (event) => event.kind === "console" || ((route === null || event.route === route) && (target === null || event.target === target));
}

/** A choice among names: `{ node, value(), update(names) }`; the value is null for all. */
function picker(label, all, changed) {
  const select = el("select", { on: { change: changed } }, el("option", { value: "", text: all }));
  const options = el("optgroup", { label: `${label}s` });
  select.append(options);
  const node = el("label", { class: "picker" }, el("span", { text: label }), select);
  const update = (names) => {
    keyed(options, names, (name) => name, (name) => ({ node: el("option", { value: name, text: name }), update: () => {} }));
  };
  return { node, value: () => select.value || null, update };
}

function line(event, route) {
  const at = Date.parse(event.at);
  const places = [event.route !== route ? event.route : null, event.target].filter(Boolean).join(" → ");
  const where = places ? el("span", { class: "where", text: places }) : null;
  const level = event.level === "info" ? null : el("span", { class: "unseen", text: `${event.level}: ` });
  const time = el("time", { datetime: event.at, title: format.whole(at), text: format.clock(at) });
  const node = el("li", { "data-tone": TONES[event.level] ?? "note" }, time, icon(SHAPES[event.level] ?? "event"), where, el("span", { class: "what" }, level, event.text));
  attr(node, "data-kind", event.kind);
  text(time, format.clock(at));
  return { node, update: () => {} };
}
