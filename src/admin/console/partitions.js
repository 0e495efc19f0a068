// The partitions of a route: where the source ends, and how far each target has them. The worst come first; a few are shown until
// more are asked for.

import { attr, el, keyed, show, text } from "./dom.js";
import * as format from "./format.js";

const FEW = 25;
const MORE = 200;

const worst = ({ targets }) => Math.max(-1, ...targets.map(({ lag }) => lag ?? Infinity));
const byPlace = (one, other) => one.topic.localeCompare(other.topic, "en", { numeric: true }) || one.partition - other.partition;

/** The panel: `{ node, update(detail) }`. */
export function partitions() {
  let shown = FEW;
  let order = { by: "worst", down: true };
  let detail = null;
  let held = null;
  const filter = el("input", { type: "search", placeholder: "topic or topic/3", "aria-label": "Show partitions of", spellcheck: "false" });
  const summary = el("p", { class: "quiet-text" });
  const head = el("tr");
  const body = el("tbody");
  const more = el("button", { type: "button", class: "plain" });
  const caption = el("caption", { class: "unseen", text: "Partitions: the source's end, and each target's watermark and lag" });
  const table = el("table", { class: "partitions" }, caption, el("thead", {}, head), body);
  const wide = el("div", { class: "wide", tabindex: "0", role: "region", "aria-label": "Partitions" }, table);
  const draw = () => detail && update(detail);
  const again = () => {
    held = null;
    draw();
  };
  filter.addEventListener("input", again);
  more.addEventListener("click", () => {
    shown += MORE;
    again();
  });
  // rows keep their places while somebody reads them
  const hold = (on) => () => {
    held = on ? held ?? [...body.children].map((row) => row.dataset.key) : null;
  };
  wide.addEventListener("pointerenter", hold(true));
  wide.addEventListener("pointerleave", hold(false));
  const node = el(
    "section",
    { class: "panel", "aria-labelledby": "partitions-title" },
    el("div", { class: "head" }, el("h2", { id: "partitions-title", text: "Partitions" }), summary, el("div", { class: "search" }, filter)),
    wide,
    el("p", { class: "more" }, more),
  );
  const sort = (by) => {
    order = { by, down: order.by === by ? !order.down : by !== "place" };
    again();
  };

  function update(given) {
    detail = given;
    const names = detail.targets.map(({ name }) => name);
    heads(head, names, order, sort);
    const wanted = filter.value.trim().toLowerCase();
    const found = detail.positions.filter(({ topic, partition }) => `${topic}/${partition}`.toLowerCase().includes(wanted));
    found.sort(sorting(order));
    if (held) {
      const places = new Map(held.map((key, at) => [key, at]));
      const place = (one) => places.get(keyOf(one)) ?? Infinity;
      found.sort((one, other) => (place(one) === place(other) ? 0 : place(one) - place(other)));
    }
    const behind = detail.positions.filter((one) => worst(one) > 0).length;
    text(summary, detail.positions.length ? `${format.plural(detail.positions.length, "partition")}, ${format.exact(behind)} with lag` : "none yet");
    keyed(body, found.slice(0, shown), (one) => `${names.length} ${keyOf(one)}`, () => row(names.length));
    show(more, found.length > shown);
    text(more, `Show ${format.exact(Math.min(MORE, found.length - shown))} more of ${format.exact(found.length)}`);
  }
  return { node, update };
}

const keyOf = ({ topic, partition }) => `${topic}/${partition}`;

function sorting({ by, down }) {
  const sign = down ? -1 : 1;
  const value = {
    worst,
    end: ({ end }) => end ?? -1,
  }[by] ?? ((one) => (by.startsWith("lag ") ? one.targets.find(({ target }) => target === by.slice(4))?.lag ?? Infinity : 0));
  if (by === "place") return (one, other) => sign * byPlace(one, other);
  return (one, other) => {
    const [a, b] = [value(one), value(other)];
    return a === b ? byPlace(one, other) : sign * (a < b ? -1 : 1);
  };
}

function heads(head, names, order, sort) {
  const sortable = (key, label) => ({ key, label, arrow: order.by !== key ? "" : order.down ? "▾" : "▴" });
  const columns = [
    sortable("place", "Partition"),
    sortable("worst", "Worst lag"),
    sortable("end", "End"),
    ...names.flatMap((name) => [sortable(`lag ${name}`, `${name} lag`), { key: `watermark ${name}`, label: `${name} watermark`, arrow: null }]),
  ];
  keyed(head, columns, ({ key }) => key, ({ key, label, arrow }) => heading(key, label, arrow !== null && (() => sort(key))));
}

function heading(key, label, click) {
  const node = el("th", { scope: "col", class: key === "place" ? "first" : "number" });
  if (!click) {
    node.append(label);
    return { node, update: () => {} };
  }
  const mark = el("span", { class: "arrow", "aria-hidden": "true" });
  node.append(el("button", { type: "button", on: { click } }, label, mark));
  const update = ({ arrow }) => {
    attr(node, "aria-sort", { "▾": "descending", "▴": "ascending" }[arrow] ?? null);
    text(mark, arrow);
  };
  return { node, update };
}

function row(targets) {
  const place = el("th", { scope: "row", class: "first" });
  const cells = Array.from({ length: 2 + 2 * targets }, () => el("td", { class: "number" }));
  const node = el("tr", {}, place, ...cells);
  const update = (partition) => {
    attr(node, "data-key", keyOf(partition));
    text(place, keyOf(partition));
    const most = worst(partition);
    const values = [most === Infinity || most < 0 ? null : most, partition.end, ...partition.targets.flatMap(({ watermark, lag }) => [lag, watermark])];
    values.forEach((value, at) => text(cells[at], format.exact(value)));
    partition.targets.forEach(({ lag }, at) => attr(cells[2 + 2 * at], "data-behind", lag === 0 ? null : "yes"));
  };
  return { node, update };
}
