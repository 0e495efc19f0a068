// All routes in one look: whether all is well or what is not, what was switched by hand, and how each target keeps up.

import { lagOf } from "./charts.js";
import { sparkline } from "./chart.js";
import { attr, el, icon, keyed, show, text } from "./dom.js";
import { feed } from "./events.js";
import * as format from "./format.js";
import { switchRoute } from "./orders.js";
import { badge, byHand, copies, tone, troubles } from "./states.js";
import { rates, store } from "./store.js";
import { differs } from "./target.js";

/** Where a route is looked at. */
export function routeLink(route) {
  return `#/routes/${encodeURIComponent(route)}`;
}

/** The view: `{ node, title, update() }`. */
export function overview() {
  const verdict = summary();
  const figures = el("dl", { class: "totals" });
  const routes = el("div", { class: "routes" });
  const lately = feed({ few: 8, heading: "Lately" });
  const node = el("div", { class: "view" }, el("h1", { class: "unseen", tabindex: "-1", text: "Overview" }), verdict.node, figures, routes, lately.node);
  const update = () => {
    if (!store.routes) return;
    verdict.update(store.routes);
    keyed(figures, totals(store.routes), ({ name }) => name, total);
    keyed(routes, store.routes, ({ name }) => name, routePanel);
    lately.update(store.events);
  };
  return { node, title: "Overview", update };
}

/** One line that says it all, and below it what needs somebody. */
function summary() {
  const sign = el("span", { class: "sign" }, icon("running"));
  const words = el("p", { class: "words" });
  const more = el("p", { class: "more-words" });
  const list = el("ul", { class: "troubles" });
  const hand = el("ul", { class: "hands" });
  const handTitle = el("p", { class: "hands-title", text: "Not as the config says:" });
  const node = el("section", { class: "verdict", "aria-label": "How it is" }, el("div", { class: "line" }, sign, el("div", {}, words, more)), list, handTitle, hand);
  const update = (routes) => {
    const found = troubles(routes);
    const starting = routes.filter((route) => route.enabled && route.state === "starting").length;
    const bad = found.some(({ state }) => tone(state) === "bad");
    attr(node, "data-tone", found.length ? (bad ? "bad" : "warn") : starting ? "note" : routes.some(copies) ? "good" : "rest");
    attr(sign.querySelector("use"), "href", `#i-${found.length ? "attention" : starting ? "starting" : routes.some(copies) ? "running" : "off"}`);
    text(words, said(routes, found, starting));
    text(more, counted(routes));
    keyed(list, found, ({ route, target }) => JSON.stringify([route, target]), trouble);
    const ordered = byHand(routes);
    show(handTitle, ordered.length > 0);
    keyed(hand, ordered, ({ route, target, what }) => JSON.stringify([route, target, what]), ordering);
  };
  return { node, update };
}

/** The verdict, in words. */
export function said(routes, found, starting) {
  if (!routes.length) return "The config has no routes";
  if (found.length) {
    const routesAlone = found.every(({ target }) => target === null);
    const noun = found.every(({ target }) => target !== null) ? "target" : routesAlone ? "route" : "place";
    return `${format.plural(found.length, noun)} ${found.length === 1 ? "needs" : "need"} attention`;
  }
  if (starting) return `${format.plural(starting, "route")} starting`;
  if (!routes.some(({ enabled }) => enabled)) return "No route is switched on";
  return "All well";
}

function counted(routes) {
  const on = routes.filter(({ enabled }) => enabled);
  const targets = on.reduce((sum, route) => sum + route.targets.length, 0);
  const off = routes.length - on.length;
  return `${format.plural(on.length, "route")} to ${format.plural(targets, "target")}${off ? `; ${format.exact(off)} switched off` : ""}`;
}

function trouble(first) {
  const state = badge();
  const reason = el("span", { class: "why" });
  const since = el("span", { class: "since" });
  const place = first.target === null ? first.route : `${first.route} → ${first.target}`;
  const node = el("li", {}, el("a", { href: routeLink(first.route), text: place }), state.node, since, reason);
  const update = (one) => {
    state.update(one.state);
    text(reason, one.reason);
    text(since, format.lasting(one.since));
  };
  return { node, update };
}

function ordering({ route, target, what }) {
  const link = el("a", { href: routeLink(route), text: target === null ? route : `${route} → ${target}` });
  return { node: el("li", {}, link, ` ${what}`), update: () => {} };
}

function totals(routes) {
  const sum = (values) => (values.some((value) => value !== null) ? values.reduce((all, value) => all + (value ?? 0), 0) : null);
  const targets = routes.filter(({ enabled }) => enabled).flatMap((route) => route.targets.map((target) => ({ route: route.name, ...target })));
  const read = routes.map(({ name }) => rates(name));
  const written = targets.map(({ route, name }) => rates(route, name));
  const late = targets.map(({ lag_seconds }) => lag_seconds).filter((seconds) => seconds !== null);
  const lags = targets.map(({ lag_records }) => lag_records).filter((lag) => lag !== null);
  const inFlight = routes.reduce((all, route) => all + route.in_flight_bytes, 0);
  return [
    { name: "Read", value: format.byteRate(sum(read.map(({ bytes }) => bytes))), unit: `${format.count(sum(read.map(({ records }) => records)))} records/s` },
    { name: "Written", value: format.byteRate(sum(written.map(({ bytes }) => bytes))), unit: `${format.count(sum(written.map(({ records }) => records)))} records/s` },
    { name: "Furthest behind", value: late.length ? format.duration(Math.max(...late)) : "–", unit: lags.length ? `${format.count(Math.max(...lags))} records` : "" },
    { name: "In flight", value: format.bytes(inFlight), unit: `of ${format.bytes(routes.reduce((all, route) => all + route.in_flight_limit_bytes, 0))}` },
  ];
}

/** A figure with its name. */
export function total({ name }) {
  const value = el("strong");
  const unit = el("span");
  const node = el("div", {}, el("dt", { text: name }), el("dd", {}, value, unit));
  const update = (one) => {
    text(value, one.value);
    text(unit, one.unit);
  };
  return { node, update };
}

/** A switch for a route: `{ node, update(route) }`. */
export function routeSwitch() {
  const words = el("span", { class: "words" });
  const node = el("button", { type: "button", role: "switch", class: "switch" }, el("span", { class: "knob", "aria-hidden": "true" }), words);
  let name = "";
  node.addEventListener("click", () => switchRoute(name, node.getAttribute("aria-checked") !== "true"));
  const update = (route) => {
    name = route.name;
    attr(node, "aria-checked", String(route.enabled));
    attr(node, "aria-label", `Route ${route.name}`);
    text(words, route.enabled ? "on" : "off");
  };
  return { node, update };
}

/** What of a route's switch differs from the config. */
export function switchedByHand(route) {
  if (route.enabled === route.enabled_in_config) return "";
  return `by hand; config: ${route.enabled_in_config ? "on" : "off"}`;
}

function routePanel(first) {
  const state = badge();
  const hand = differs();
  const reason = el("p", { class: "reason" });
  const read = el("span", { class: "read" });
  const onOff = routeSwitch();
  const body = el("tbody", { role: "rowgroup" });
  const heads = ["Target", "State", "Lag", "Behind", "Last hour", "Written", "Limit"];
  const numbers = ["Lag", "Behind", "Written", "Limit"];
  const row = el("tr", { role: "row" }, ...heads.map((name) => el("th", { role: "columnheader", scope: "col", class: numbers.includes(name) ? "number" : null, text: name })));
  const table = el("table", { role: "table", class: "targets", "aria-label": `Targets of ${first.name}` }, el("thead", { role: "rowgroup" }, row), body);
  const title = el("h2", {}, el("a", { href: routeLink(first.name), text: first.name }));
  const node = el("section", { class: "panel route", "aria-label": `Route ${first.name}` }, el("div", { class: "head" }, title, state.node, hand.node, read, onOff.node), reason, table);
  const update = (route) => {
    attr(node, "data-tone", tone(route.state));
    state.update(route.state);
    hand.update(switchedByHand(route));
    onOff.update(route);
    const rate = rates(route.name).bytes;
    const to = route.state === "off" ? ` to ${route.targets.map(({ name }) => name).join(", ")}` : "";
    text(read, `from ${route.from}${to}${route.enabled && rate !== null ? `, ${format.byteRate(rate)} read` : ""}`);
    // a target's reason is in its own row
    const own = route.state !== "degraded" || !route.targets.some((target) => target.reason && route.reason.includes(target.reason));
    text(reason, own ? route.reason : "");
    show(reason, own && route.reason !== "");
    // its targets have nothing to show, and say so
    show(table, route.state !== "off");
    keyed(body, route.targets.map((target) => ({ route, target })), ({ target }) => target.name, targetRow);
  };
  return { node, update };
}

function targetRow({ route: { name: route }, target: { name } }) {
  const state = badge();
  const why = el("span", { class: "why" });
  const spark = sparkline();
  const heard = el("span", { class: "unseen" });
  const [lag, late, written, limit] = [el("span"), el("span"), el("span"), el("span")];
  const hand = differs();
  const cell = (label, kind, ...content) => el("td", { role: "cell", class: kind, "data-label": label }, ...content);
  const node = el(
    "tr",
    { role: "row" },
    el("th", { role: "rowheader", scope: "row" }, el("a", { href: routeLink(route), text: name })),
    cell("State", "state", state.node, why),
    cell("Lag", "number", lag),
    cell("Behind", "number", late),
    cell("Last hour", "trend", spark.node, heard),
    cell("Written", "number", written),
    cell("Limit", "number", limit, hand.node),
  );
  const update = ({ route, target }) => {
    attr(node, "data-tone", tone(target.state));
    state.update(target.state);
    text(why, [target.reason, target.retrying?.next_attempt_at ? `next attempt ${format.ahead(target.retrying.next_attempt_at)}` : ""].filter(Boolean).join("; "));
    text(lag, format.count(target.lag_records));
    attr(lag, "title", target.lag_records === null ? null : `${format.exact(target.lag_records)} records`);
    text(late, format.duration(target.lag_seconds));
    const { times, values } = lagOf(route.name, target);
    spark.update(times, values, times.at(-1));
    const known = values.filter((value) => value !== null);
    text(heard, known.length ? `lag at most ${format.count(Math.max(...known))} records` : "nothing known");
    text(written, format.byteRate(rates(route.name, target.name).bytes));
    text(limit, target.bandwidth);
    hand.update(target.bandwidth === target.bandwidth_in_config ? "" : `config: ${target.bandwidth_in_config}`);
  };
  return { node, update };
}
