// The two charts of a route: how far its targets are behind, and how fast records go.

import { Chart } from "./chart.js";
import { attr, el } from "./dom.js";
import * as format from "./format.js";
import { rates, store } from "./store.js";

/** A target's lag over the last hour, with the present at its end: `{ times, values }`. */
export function lagOf(route, target) {
  const history = store.histories.get(route);
  const past = history?.targets.find(({ name }) => name === target.name)?.lag_records ?? [];
  return { times: [...(history?.at ?? []), format.now()], values: [...(history ? past : []), target.lag_records] };
}

/** A chart under a heading, with a choice of units. `choices`: `{ label, kind, show, series(route, history) }`. */
function figure(title, choices) {
  const chart = new Chart();
  let chosen = 0;
  let drawn = null;
  const heading = el("h3", { text: title });
  const buttons = choices.map(({ label }, at) => {
    const click = () => {
      chosen = at;
      buttons.forEach((button, other) => attr(button, "aria-pressed", String(other === at)));
      if (drawn) update(drawn);
    };
    return el("button", { type: "button", "aria-pressed": String(at === 0), text: label, on: { click } });
  });
  const units = el("div", { class: "choice", role: "group", "aria-label": `${title}: unit` }, ...buttons);
  const node = el("section", { class: "panel figure" }, el("div", { class: "head" }, heading, units), chart.node);
  const update = (route) => {
    drawn = route;
    const history = store.histories.get(route.name);
    const { label, kind, show, series } = choices[chosen];
    const to = format.now();
    const past = history?.at ?? [];
    const lines = series(route, history).map(({ name, values, last }) => ({ name, values: [...(values ?? past.map(() => null)), last] }));
    chart.update({ title: `${title} in ${label}`, kind, show, times: [...past, to], to, series: lines });
  };
  return { node, update };
}

const ofTargets = (column, last) => (route, history) =>
  route.targets.map((target) => {
    const past = history?.targets.find(({ name }) => name === target.name);
    return { name: target.name, values: past?.[column], last: last(route, target) };
  });

const throughput = (column, unit) => (route, history) => [
  ...ofTargets(column, (of, target) => rates(of.name, target.name)[unit])(route, history),
  { name: "read", values: history?.read[column], last: rates(route.name)[unit] },
];

export function lagChart() {
  return figure("Lag", [
    { label: "records", kind: "count", show: format.count, series: ofTargets("lag_records", (_, target) => target.lag_records) },
    { label: "time", kind: "seconds", show: format.duration, series: ofTargets("lag_seconds", (_, target) => target.lag_seconds) },
  ]);
}

export function throughputChart() {
  return figure("Throughput", [
    { label: "bytes", kind: "bytes", show: format.byteRate, series: throughput("bytes_per_second", "bytes") },
    { label: "records", kind: "count", show: format.recordRate, series: throughput("records_per_second", "records") },
  ]);
}
