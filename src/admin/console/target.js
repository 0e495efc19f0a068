// A target of a route: how it is and why, what was counted, and what can be ordered.

import { attr, el, keyed, show, text, unique } from "./dom.js";
import * as format from "./format.js";
import { pauseTarget, setBandwidth } from "./orders.js";
import { badge, tone } from "./states.js";
import { rates } from "./store.js";

/** A target's panel: `{ node, update({ route, target }) }`. */
export function panel({ route, target }) {
  const names = { route: route.name, target: target.name };
  const state = badge();
  const since = el("span", { class: "since" });
  const reason = el("p", { class: "reason" });
  const retry = el("p", { class: "retry" });
  const facts = el("dl", { class: "facts" });
  const pause = el("button", { type: "button", class: "plain" });
  pause.addEventListener("click", () => pauseTarget(names.route, names.target, pause.dataset.order === "pause"));
  const limit = bandwidth(names);
  const title = unique("target");
  const node = el(
    "article",
    { class: "panel target", "aria-labelledby": title },
    el("div", { class: "head" }, el("h3", { id: title, text: target.name }), state.node, since, pause),
    reason,
    retry,
    facts,
    limit.node,
  );
  const update = ({ route, target }) => {
    attr(node, "data-tone", tone(target.state));
    state.update(target.state);
    text(since, format.lasting(target.since));
    attr(since, "title", format.whole(Date.parse(target.since)));
    text(reason, target.reason);
    show(reason, target.reason !== "");
    retrying(retry, target.retrying);
    attr(pause, "data-order", target.paused ? "resume" : "pause");
    text(pause, target.paused ? "Resume" : "Pause");
    attr(pause, "aria-label", `${target.paused ? "Resume" : "Pause"} ${target.name}`);
    keyed(facts, counted(route, target), ({ name }) => name, fact);
    limit.update(target);
  };
  return { node, update };
}

function retrying(node, retry) {
  show(node, retry !== undefined);
  if (retry === undefined) return;
  const next = retry.next_attempt_at ? `, the next ${format.ahead(retry.next_attempt_at)}` : "";
  text(node, `${retry.class} fault, attempt ${format.exact(retry.attempt)} failed${next}`);
}

/** What is shown always, and what only where it is not zero. */
function counted(route, target) {
  const rate = rates(route.name, target.name);
  const always = [
    { name: "Lag", value: format.exact(target.lag_records), unit: "records" },
    { name: "Behind", value: format.duration(target.lag_seconds) },
    { name: "Written", value: format.byteRate(rate.bytes), unit: format.recordRate(rate.records).replace("/s", " records/s") },
  ];
  const sometimes = [
    { name: "Detached", value: target.detached_partitions, unit: "partitions", grave: true },
    { name: "Retries", value: target.retries },
    { name: "Dead letters", value: target.dead_letter_records, grave: true },
    { name: "Dropped", value: target.dropped_records, grave: true },
    { name: "Kept", value: target.kept_records, grave: true },
    { name: "Gaps", value: target.gaps, grave: true },
  ].filter(({ value }) => value > 0);
  const throttled = target.throttled_seconds >= 1 ? [{ name: "Throttled", value: format.duration(target.throttled_seconds), unit: "in all" }] : [];
  return [...always, ...sometimes.map((one) => ({ ...one, value: format.exact(one.value) })), ...throttled];
}

function fact({ name }) {
  const value = el("strong");
  const unit = el("span");
  const node = el("div", {}, el("dt", { text: name }), el("dd", {}, value, " ", unit));
  const update = (one) => {
    text(value, one.value);
    text(unit, one.unit);
    attr(node, "data-grave", one.grave ? "yes" : null);
  };
  return { node, update };
}

/** The limit, and how it is changed. What somebody has typed stays until it is sent or taken back. */
function bandwidth({ route, target }) {
  const [field, error, hint] = [unique("rate"), unique("rate-error"), unique("rate-hint")];
  const input = el("input", { id: field, type: "text", autocomplete: "off", spellcheck: "false", "aria-describedby": `${error} ${hint}`, size: "12" });
  const send = el("button", { type: "submit", class: "plain", text: "Set", "aria-label": `Set the bandwidth of ${target}` });
  const back = el("button", { type: "button", class: "plain", hidden: true });
  const wrong = el("p", { class: "error", id: error, role: "alert" });
  const says = el("p", { class: "hint", id: hint });
  const label = el("label", { for: field, text: "Bandwidth limit" });
  const node = el("form", { class: "bandwidth", novalidate: true }, label, el("div", { class: "row" }, input, send, back), wrong, says);
  let current = null;
  let config = null;
  const dirty = () => current !== null && input.value !== current;
  const order = async (rate) => {
    const refusal = rate === "" ? "Write a rate, such as 20MiB/s, or unlimited." : await setBandwidth(route, target, rate);
    text(wrong, refusal);
    attr(input, "aria-invalid", refusal ? "true" : null);
    if (refusal) input.focus();
    else input.value = current;
  };
  node.addEventListener("submit", (event) => {
    event.preventDefault();
    order(input.value.trim());
  });
  back.addEventListener("click", () => {
    if (config !== null) order(config);
    input.focus();
  });
  input.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    input.value = current ?? "";
    text(wrong, "");
    attr(input, "aria-invalid", null);
  });
  const update = (target) => {
    const untouched = !dirty();
    current = target.bandwidth;
    config = target.bandwidth_in_config;
    // what somebody has typed is theirs
    if (untouched && input.value !== current) input.value = current;
    const differs = current !== config;
    show(back, differs);
    text(back, `Back to ${config}`);
    attr(node, "data-differs", differs ? "yes" : null);
    text(says, `${differs ? `${current} was set by hand; the config says ${config}` : "as the config says"}; counted as it is sent, compressed`);
  };
  return { node, update };
}

/** A mark that something is not as the config says: `{ node, update(words) }`; hidden where there are none. */
export function differs() {
  const words = el("span");
  const node = el("span", { class: "by-hand", hidden: true }, words);
  const update = (given) => {
    show(node, given !== "");
    text(words, given);
  };
  return { node, update };
}
