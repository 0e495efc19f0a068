// The page: which view is shown, whether the engine answers, the theme, and what is said of changes.

import { ask, keepToken, paths, token } from "./api.js";
import { say } from "./dialogs.js";
import { attr, show, text } from "./dom.js";
import { eventsView } from "./events.js";
import * as format from "./format.js";
import { reload } from "./orders.js";
import { overview, said } from "./overview.js";
import { routeView } from "./route.js";
import { troubles } from "./states.js";
import { look, run, store, watch } from "./store.js";

const by = (id) => document.getElementById(id);
const main = by("main");

let view = null;

/** Shows what the address says. */
function go(first) {
  const [place, name] = location.hash.replace(/^#\/?/, "").split("/");
  const route = place === "routes" && name ? named(name) : null;
  view = route !== null ? routeView(route) : place === "events" ? eventsView() : overview();
  look(route);
  main.replaceChildren(view.node);
  document.title = `${view.title} · anabranch`;
  for (const link of document.querySelectorAll("[data-view]")) {
    attr(link, "aria-current", link.dataset.view === (route !== null ? "" : place || "overview") ? "page" : null);
  }
  view.update();
  if (first) return;
  scrollTo(0, 0);
  const heading = view.node.querySelector("h1");
  (heading?.checkVisibility() ? heading : main).focus({ preventScroll: true });
}

function named(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

let states = null;

/** Says which states are other ones than before. */
function announce() {
  if (!store.routes) return;
  const next = new Map();
  for (const route of store.routes) {
    next.set(JSON.stringify([route.name]), [`route ${route.name}`, route.state]);
    for (const target of route.targets) next.set(JSON.stringify([route.name, target.name]), [`${target.name} of ${route.name}`, target.state]);
  }
  if (states) {
    const changed = [...next].filter(([key, [, state]]) => states.get(key)?.[1] !== state);
    if (changed.length) say(changed.slice(0, 5).map(([, [what, state]]) => `${what} is ${state}`).join("; "));
  }
  states = next;
}

let answered = true;
let offered = false;

/** Whether the engine answers, at the top of the page. */
function contact() {
  const { lost, last } = store.contact;
  attr(by("contact"), "data-live", lost ? "no" : last === null ? "not yet" : "yes");
  text(by("contact").querySelector(".words"), lost ? "no contact" : last === null ? "connecting…" : "live");
  const since = last === null ? "since this page was opened" : `since ${format.clock(last)}`;
  const banner = by("lost");
  text(banner, `No contact with the engine ${since}. It is asked again every two seconds; what is shown is how it was then.`);
  show(banner, lost);
  attr(document.body, "data-stale", lost ? "yes" : null);
  if (!lost && !answered) say("The engine answers again");
  answered = !lost;
  // it may be another version when it comes back
  if (lost) offered = false;
  else if (last !== null && !offered) offers();
}

/** The page's own title and icon tell how it is. */
function verdict() {
  if (!store.routes || !view) return;
  const found = troubles(store.routes);
  const title = `${found.length ? `(${found.length}) ` : ""}${view.title} · anabranch`;
  if (document.title !== title) document.title = title;
  attr(by("contact"), "title", said(store.routes, found, 0));
}

/** What the engine has beyond what every one has. */
async function offers() {
  offered = true;
  try {
    const { paths: known } = await ask(paths.openapi);
    show(by("reload"), `/${paths.reload}` in known);
  } catch {
    offered = false;
  }
}

const THEMES = ["auto", "light", "dark"];

function theme() {
  const chosen = document.documentElement.dataset.theme ?? "auto";
  text(by("theme"), `Theme: ${chosen}`);
}

function nextTheme() {
  const root = document.documentElement;
  const chosen = THEMES[(THEMES.indexOf(root.dataset.theme ?? "auto") + 1) % THEMES.length];
  if (chosen === "auto") delete root.dataset.theme;
  else root.dataset.theme = chosen;
  try {
    if (chosen === "auto") localStorage.removeItem("anabranch.theme");
    else localStorage.setItem("anabranch.theme", chosen);
  } catch {
    // storage is forbidden: it is for this page alone
  }
  theme();
}

by("theme").addEventListener("click", nextTheme);
by("reload").addEventListener("click", async (event) => {
  const button = event.currentTarget;
  attr(button, "aria-busy", "true");
  await reload();
  attr(button, "aria-busy", null);
});
by("forget").addEventListener("click", () => {
  keepToken(null);
  location.reload();
});
document.querySelector(".skip").addEventListener("click", (event) => {
  // the address is the view's
  event.preventDefault();
  main.focus();
});
addEventListener("hashchange", () => go(false));
watch(() => {
  contact();
  announce();
  verdict();
  show(by("forget"), token() !== null);
  view?.update();
});

theme();
go(true);
run();
