// Lines over the last hour, and sparklines: drawn as SVG, patched in place. A chart is read by the pointer, by the arrow keys, and as
// a table of numbers.

import { attr, el, keyed, svg, text } from "./dom.js";
import * as format from "./format.js";

const HOUR = 3_600_000;
const SHORTEST = 300_000;
/** Samples come every 10 s; where there is none for so long, the line is cut. */
const HOLE = 35_000;
const PAD = { left: 70, right: 10, top: 10, bottom: 24 };
const HEIGHT = 200;

/** From when a chart begins, with what there is: an hour ago at the most. */
export function start(times, to) {
  const oldest = times[0] ?? to;
  return Math.max(to - HOUR, Math.min(oldest, to - SHORTEST));
}

const NICE = {
  count: (most) => decimal(most, 1),
  bytes: (most) => decimal(most, 1024 ** Math.max(0, Math.floor(Math.log(Math.max(most, 1)) / Math.log(1024)))),
  seconds: (most) => [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 43200].find((step) => step * 4 >= most) ?? decimal(most, 86400),
};

function decimal(most, unit) {
  const rough = Math.max(most / unit, 1e-9) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((factor) => factor * power >= rough) * power * unit;
  // nobody has half a record, or half a byte
  return Math.max(step, 1);
}

/** The marks of an axis from zero: four steps at the most, in round numbers. */
export function marks(most, kind) {
  const floor = kind === "seconds" ? 0.4 : 4;
  const step = NICE[kind](Math.max(most, floor));
  const steps = Math.max(1, Math.ceil(Math.max(most, floor) / step));
  return Array.from({ length: steps + 1 }, (_, at) => at * step);
}

/** A line through values, in pixels; cut where nothing is known. */
export function line(times, values, x, y) {
  let drawn = "";
  let last = null;
  values.forEach((value, at) => {
    if (value === null || value === undefined) {
      last = null;
      return;
    }
    const joined = last !== null && times[at] - last < HOLE;
    const point = `${x(times[at]).toFixed(1)} ${y(value).toFixed(1)}`;
    // a point without neighbours is a line of no length, whose round ends are seen
    drawn += joined ? `L${point}` : `M${point}L${point}`;
    last = times[at];
  });
  return drawn;
}

/** A small line without axes: `{ node, update(times, values, now) }`. What it shows stands beside it as text. */
export function sparkline() {
  const [width, height] = [120, 26];
  const area = svg("path", { class: "area" });
  const path = svg("path", { class: "line" });
  const node = svg("svg", { class: "spark", viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true" }, area, path);
  const update = (times, values, to) => {
    const from = start(times, to);
    const most = Math.max(1, ...values.map((value) => value ?? 0));
    const x = (time) => ((time - from) / (to - from)) * width;
    const y = (value) => height - 2 - (value / most) * (height - 5);
    const shown = times.map((time, at) => (time >= from ? values[at] : null));
    const drawn = line(times, shown, x, y);
    attr(path, "d", drawn || null);
    attr(area, "d", drawn ? drawn.split("M").slice(1).map((piece) => closed(piece, height)).join("") : null);
  };
  return { node, update };
}

function closed(piece, height) {
  const [first, last] = [piece.split("L")[0], piece.split("L").at(-1)];
  return `M${piece}L${last.split(" ")[0]} ${height}L${first.split(" ")[0]} ${height}Z`;
}

/** A chart. `update({ title, kind, show, times, to, series: [{ name, values }] })` draws it. */
export class Chart {
  constructor() {
    this.grid = svg("g", { class: "grid" });
    this.lines = svg("g");
    this.dots = svg("g");
    this.cursor = svg("line", { class: "cursor", visibility: "hidden" });
    this.drawing = svg("svg", { "aria-hidden": "true" }, this.grid, this.cursor, this.lines, this.dots);
    const keys = (event) => this.key(event);
    const point = (event) => this.point(event);
    const leave = () => this.leave();
    const on = { keydown: keys, pointermove: point, pointerdown: point, pointerleave: leave, blur: leave };
    this.plot = el("div", { class: "plot", tabindex: "0", role: "slider", "aria-valuemin": "0", on }, this.drawing);
    this.legend = el("ul", { class: "legend" });
    this.time = el("span", { class: "time" });
    this.table = el("tbody");
    const head = ["Line", "Now", "Lowest", "Highest", "Average"].map((name) => el("th", { scope: "col", text: name }));
    this.caption = el("caption", { class: "unseen" });
    const table = el("table", {}, this.caption, el("thead", {}, el("tr", {}, ...head)), this.table);
    this.wide = el("div", { class: "wide", tabindex: "0", role: "region" }, table);
    this.numbers = el("details", { class: "numbers" }, el("summary", { text: "Numbers" }), this.wide);
    this.numbers.addEventListener("toggle", () => this.draw());
    this.node = el("div", { class: "chart" }, el("div", { class: "reading" }, this.legend, this.time), this.plot, this.numbers);
    this.at = null;
    this.given = null;
    this.width = 0;
    new ResizeObserver(([entry]) => {
      const width = Math.round(entry.contentRect.width);
      if (width === this.width) return;
      this.width = width;
      this.draw();
    }).observe(this.plot);
  }

  update(given) {
    this.given = given;
    if (this.at !== null) this.at = Math.min(this.at, given.times.length - 1);
    this.draw();
  }

  draw() {
    const { given, width } = this;
    if (!given) return;
    this.read();
    if (this.numbers.open) this.tell();
    if (width < 80) return;
    const { times, to, series, kind, show } = given;
    const from = start(times, to);
    const within = series.map(({ values }) => values.map((value, at) => (times[at] >= from ? value : null)));
    const ticks = marks(Math.max(0, ...within.flat().map((value) => value ?? 0)), kind);
    this.x = (time) => PAD.left + ((time - from) / (to - from)) * (width - PAD.left - PAD.right);
    this.y = (value) => HEIGHT - PAD.bottom - (value / ticks.at(-1)) * (HEIGHT - PAD.top - PAD.bottom);
    attr(this.drawing, "viewBox", `0 0 ${width} ${HEIGHT}`);
    attr(this.drawing, "height", HEIGHT);
    this.axes(ticks, show, from, to);
    keyed(this.lines, series.map((one, at) => ({ ...one, at, shown: within[at] })), ({ name }) => name, () => this.line());
    this.mark();
  }

  line() {
    const node = svg("path", { class: "line" });
    const update = ({ at, shown }) => {
      attr(node, "data-line", at % 6);
      attr(node, "d", line(this.given.times, shown, this.x, this.y) || null);
    };
    return { node, update };
  }

  axes(ticks, show, from, to) {
    const { width } = this;
    const rows = ticks.map((value) => ({ key: `y${value}`, label: show(value).replace(".0 ", " "), x: PAD.left - 8, y: this.y(value) + 4, anchor: "end", rule: this.y(value) }));
    const step = [60_000, 120_000, 300_000, 600_000, 900_000, 1_800_000].find((step) => (to - from) / step <= Math.max(2, (width - PAD.left) / 90)) ?? HOUR;
    const columns = [];
    for (let time = Math.ceil(from / step) * step; time <= to; time += step) {
      const x = this.x(time);
      if (x > width - 22) continue;
      columns.push({ key: `x${time}`, label: format.minutes(time), x, y: HEIGHT - 6, anchor: "middle", rule: null });
    }
    keyed(this.grid, [...rows, ...columns], ({ key }) => key, () => this.axis());
  }

  axis() {
    const rule = svg("line");
    const label = svg("text");
    const node = svg("g", {}, rule, label);
    const update = (mark) => {
      const upright = mark.rule === null;
      const [x1, x2] = upright ? [mark.x, mark.x] : [PAD.left, this.width - PAD.right];
      const [y1, y2] = upright ? [HEIGHT - PAD.bottom, HEIGHT - PAD.bottom + 4] : [mark.rule, mark.rule];
      for (const [name, value] of Object.entries({ x1, x2, y1, y2 })) attr(rule, name, value.toFixed(1));
      attr(label, "x", mark.x.toFixed(1));
      attr(label, "y", mark.y.toFixed(1));
      attr(label, "text-anchor", mark.anchor);
      text(label, mark.label);
    };
    return { node, update };
  }

  /** The values at the cursor, or the last ones. */
  read() {
    const { given, at } = this;
    const { times, series, show, title } = given;
    const place = at ?? times.length - 1;
    const rows = series.map(({ name, values }, line) => ({ name, line, value: show(values[place] ?? null) }));
    keyed(this.legend, rows, ({ name }) => name, legendRow);
    const when = at === null || times.length === 0 ? "now" : format.clock(times[at]);
    text(this.time, when);
    attr(this.plot, "aria-label", `${title}: the arrow keys go through the last hour`);
    attr(this.plot, "aria-valuemax", Math.max(0, times.length - 1));
    attr(this.plot, "aria-valuenow", Math.max(0, place));
    attr(this.plot, "aria-valuetext", `${when}: ${rows.map(({ name, value }) => `${name} ${value}`).join(", ") || "nothing"}`);
  }

  /** The cursor, and a dot on each line. */
  mark() {
    const { at, given } = this;
    attr(this.cursor, "visibility", at === null ? "hidden" : "visible");
    const dots = [];
    if (at !== null) {
      const x = this.x(given.times[at]).toFixed(1);
      for (const [name, value] of Object.entries({ x1: x, x2: x, y1: PAD.top, y2: HEIGHT - PAD.bottom })) attr(this.cursor, name, value);
      given.series.forEach(({ name, values }, line) => {
        if (values[at] !== null && values[at] !== undefined) dots.push({ name, line, x, y: this.y(values[at]).toFixed(1) });
      });
    }
    keyed(this.dots, dots, ({ name }) => name, () => {
      const node = svg("circle", { r: "3.5" });
      const update = ({ line, x, y }) => {
        attr(node, "data-line", line % 6);
        attr(node, "cx", x);
        attr(node, "cy", y);
      };
      return { node, update };
    });
  }

  /** All of it in numbers. */
  tell() {
    const { series, show, title } = this.given;
    text(this.caption, title);
    attr(this.wide, "aria-label", `${title}, in numbers`);
    const rows = series.map(({ name, values }) => {
      const known = values.filter((value) => value !== null && value !== undefined);
      const sum = known.reduce((all, value) => all + value, 0);
      const figures = [values.at(-1) ?? null, least(known), most(known), known.length ? sum / known.length : null];
      return { name, figures: figures.map(show) };
    });
    keyed(this.table, rows, ({ name }) => name, () => {
      const cells = [el("th", { scope: "row" }), ...Array.from({ length: 4 }, () => el("td", { class: "number" }))];
      const update = ({ name, figures }) => [name, ...figures].forEach((value, at) => text(cells[at], value));
      return { node: el("tr", {}, ...cells), update };
    });
  }

  key(event) {
    const last = (this.given?.times.length ?? 0) - 1;
    const at = this.at ?? last;
    const places = { ArrowLeft: at - 1, ArrowRight: at + 1, PageUp: at - 30, PageDown: at + 30, Home: 0, End: last };
    if (event.key === "Escape") this.leave();
    else if (event.key in places && last >= 0) this.go(Math.min(last, Math.max(0, places[event.key])));
    else return;
    event.preventDefault();
  }

  point(event) {
    if (!this.given?.times.length || !this.x) return;
    const x = event.clientX - this.plot.getBoundingClientRect().left;
    const { times } = this.given;
    let nearest = 0;
    times.forEach((time, at) => {
      if (Math.abs(this.x(time) - x) < Math.abs(this.x(times[nearest]) - x)) nearest = at;
    });
    this.go(nearest);
  }

  go(at) {
    this.at = at;
    this.draw();
  }

  leave() {
    if (this.at === null) return;
    this.go(null);
  }
}

const least = (values) => (values.length ? Math.min(...values) : null);
const most = (values) => (values.length ? Math.max(...values) : null);

function legendRow() {
  const swatch = svg("path", { d: "M1 5h20" });
  const name = el("span");
  const value = el("strong");
  const update = (row) => {
    attr(swatch, "data-line", row.line % 6);
    text(name, row.name);
    text(value, row.value);
  };
  const sample = svg("svg", { class: "swatch", viewBox: "0 0 22 10", width: "22", height: "10", "aria-hidden": "true" }, swatch);
  return { node: el("li", {}, sample, name, value), update };
}
