// One route: how it is, its charts, its targets, its partitions, its events.

import { lagChart, throughputChart } from "./charts.js";
import { attr, el, keyed, show, text } from "./dom.js";
import { feed } from "./events.js";
import * as format from "./format.js";
import { routeSwitch, switchedByHand, total } from "./overview.js";
import { partitions } from "./partitions.js";
import { badge, tone } from "./states.js";
import { rates, store } from "./store.js";
import { differs, panel } from "./target.js";

/** The view of a route: `{ node, title, update() }`. */
export function routeView(name) {
  const missing = el("p", { class: "missing", role: "status", hidden: true, text: `There is no route ${name} here, or not any more. ` });
  missing.append(el("a", { href: "#/", text: "All routes" }));
  const top = heading(name);
  const charts = [lagChart(), throughputChart()];
  const targets = el("div", { class: "target-panels" });
  const table = partitions();
  const events = feed({ few: 12, heading: "Events", route: name });
  const whole = el(
    "div",
    { class: "parts", hidden: true },
    top.node,
    el("div", { class: "figures" }, ...charts.map(({ node }) => node)),
    el("h2", { class: "between", text: "Targets" }),
    targets,
    table.node,
    events.node,
  );
  const trail = el("nav", { class: "trail", "aria-label": "Where this is" }, el("a", { href: "#/", text: "Overview" }), " / ", el("span", { "aria-current": "page", text: name }));
  const node = el("div", { class: "view" }, trail, missing, whole);
  const update = () => {
    const detail = store.detail?.name === name ? store.detail : null;
    // all but the partitions is known from the list, where the route itself has not been asked for yet
    const route = store.detail === false ? null : detail ?? store.routes?.find((route) => route.name === name);
    show(missing, store.detail === false);
    show(whole, Boolean(route));
    if (!route) return;
    top.update(route);
    charts.forEach((chart) => chart.update(route));
    keyed(targets, route.targets.map((target) => ({ route, target })), ({ target }) => target.name, panel);
    if (detail) table.update(detail);
    events.update(store.events, route.targets.map((target) => target.name));
  };
  return { node, title: name, update };
}

function heading(name) {
  const state = badge();
  const hand = differs();
  const since = el("span", { class: "since" });
  const from = el("span", { class: "read" });
  const reason = el("p", { class: "reason" });
  const onOff = routeSwitch();
  const figures = el("dl", { class: "totals" });
  const node = el(
    "section",
    { class: "panel route-head", "aria-label": `Route ${name}` },
    el("div", { class: "head" }, el("h1", { tabindex: "-1", text: name }), state.node, since, hand.node, from, onOff.node),
    reason,
    figures,
  );
  const update = (route) => {
    attr(node, "data-tone", tone(route.state));
    state.update(route.state);
    text(since, format.lasting(route.since));
    attr(since, "title", format.whole(Date.parse(route.since)));
    hand.update(switchedByHand(route));
    text(from, `from ${route.from}`);
    text(reason, route.reason);
    show(reason, route.reason !== "");
    onOff.update(route);
    keyed(figures, figuresOf(route), ({ name }) => name, total);
  };
  return { node, update };
}

function figuresOf(route) {
  const rate = rates(route.name);
  return [
    { name: "Read now", value: format.byteRate(rate.bytes), unit: `${format.count(rate.records)} records/s` },
    { name: "Read since the start", value: format.bytes(route.bytes), unit: `${format.count(route.records)} records` },
    { name: "Partitions", value: format.exact(route.partitions), unit: "of this process" },
    { name: "In flight", value: format.bytes(route.in_flight_bytes), unit: `of ${format.bytes(route.in_flight_limit_bytes)}` },
  ];
}
