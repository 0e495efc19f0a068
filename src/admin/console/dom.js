// Small tools to make and patch the page. Whatever comes from elsewhere goes in as text, never as markup; and nothing is written
// that has not changed, so focus, selections and opened parts stay as they are.

const SVG = "http://www.w3.org/2000/svg";

/** An element: `el("p", { class: "quiet", on: { click } }, "text", child)`. Properties are attributes; `text` is its text. */
export function el(tag, properties = {}, ...children) {
  return fill(document.createElement(tag), properties, children);
}

/** The same for a part of a drawing. */
export function svg(tag, properties = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), properties, children);
}

function fill(node, { on, text: content, ...attributes }, children) {
  for (const [name, value] of Object.entries(attributes)) attr(node, name, value);
  for (const [event, listener] of Object.entries(on ?? {})) node.addEventListener(event, listener);
  if (content !== undefined) node.textContent = content;
  node.append(...children.filter((child) => child !== null));
  return node;
}

/** An icon of the page's own. */
export function icon(name) {
  const use = svg("use", { href: `#i-${name}` });
  return svg("svg", { class: "icon", "aria-hidden": "true", viewBox: "0 0 16 16" }, use);
}

/** Sets an attribute; null and false take it away. */
export function attr(node, name, value) {
  if (value === null || value === undefined || value === false) {
    if (node.hasAttribute(name)) node.removeAttribute(name);
    return;
  }
  const written = value === true ? "" : String(value);
  if (node.getAttribute(name) !== written) node.setAttribute(name, written);
}

/** Sets a node's text. */
export function text(node, value) {
  const written = value ?? "";
  if (node.textContent !== written) node.textContent = written;
}

/** Shows or hides a node. */
export function show(node, visible) {
  if (node.hidden === visible) node.hidden = !visible;
}

const rows = new WeakMap();

/**
 * Has a parent's children stand for these items, in their order. `make(item)` gives `{ node, update(item) }`; nodes of items that
 * were there before are kept, and moved only where the order is another one.
 */
export function keyed(parent, items, key, make) {
  const known = rows.get(parent) ?? new Map();
  const kept = new Map();
  let before = null;
  for (const item of items) {
    const name = key(item);
    const row = known.get(name) ?? make(item);
    row.update(item);
    kept.set(name, row);
    const place = before ? before.nextSibling : parent.firstChild;
    // those that are gone, and would be in the way, are passed over: they are removed below
    if (row.node !== place) parent.insertBefore(row.node, place);
    before = row.node;
  }
  for (const [name, row] of known) if (!kept.has(name)) row.node.remove();
  rows.set(parent, kept);
}

let ids = 0;

/** An id that nobody else has. */
export function unique(prefix) {
  ids += 1;
  return `${prefix}-${ids}`;
}
