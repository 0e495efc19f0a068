// Dialogs and notes: what is asked before copying is stopped, the token, and what became of an order.

import { NoContact, Problem, ask, keepToken, paths } from "./api.js";
import { attr, el, text } from "./dom.js";

const by = (id) => document.getElementById(id);

/** Asks; gives whether the answer was yes. The focus goes back to where it was. */
export function confirm({ title, detail, action }) {
  const dialog = by("confirm");
  const yes = dialog.querySelector("[data-answer=yes]");
  text(by("confirm-title"), title);
  text(by("confirm-text"), detail);
  text(yes, action);
  return new Promise((answer) => {
    const control = new AbortController();
    const done = (said) => {
      control.abort();
      if (dialog.open) dialog.close();
      answer(said);
    };
    const on = (node, event, listener) => node.addEventListener(event, listener, { signal: control.signal });
    on(dialog.querySelector("form"), "submit", (event) => {
      event.preventDefault();
      done(true);
    });
    on(dialog.querySelector("[data-answer=no]"), "click", () => done(false));
    on(dialog, "close", () => done(false));
    dialog.showModal();
    yes.focus();
  });
}

/** Asks for the token until it is the right one. */
export function signIn() {
  const dialog = by("sign-in");
  const field = by("token");
  const error = by("token-error");
  return new Promise((done) => {
    const control = new AbortController();
    const on = (node, event, listener) => node.addEventListener(event, listener, { signal: control.signal });
    // without a token there is nothing behind it to go back to
    on(dialog, "cancel", (event) => event.preventDefault());
    on(dialog.querySelector("form"), "submit", async (event) => {
      event.preventDefault();
      const given = field.value.trim();
      const refusal = await tried(given);
      text(error, refusal);
      attr(field, "aria-invalid", refusal ? "true" : null);
      if (refusal) {
        field.select();
        return;
      }
      keepToken(given);
      field.value = "";
      control.abort();
      dialog.close();
      done();
    });
    if (!dialog.open) dialog.showModal();
    field.focus();
  });
}

/** Why a token is not taken; empty where it is. */
async function tried(given) {
  try {
    await ask(paths.routes, { own: given });
    return "";
  } catch (error) {
    if (error instanceof Problem && error.status === 401) return "This is not the token of this engine. Look for admin.token in its config.";
    return explain(error);
  }
}

/** What went wrong, for people. */
export function explain(error) {
  if (error instanceof NoContact) return "The engine does not answer. Nothing is known of what became of this.";
  return error.message;
}

/** Says something to those who listen rather than look. */
export function say(words) {
  text(by("said"), words);
}

/** Shows what became of an order: for a while, or where it failed until it is put away. */
export function note(words, { failed = false, lines = [] } = {}) {
  const list = lines.length ? el("ul", {}, ...lines.map((line) => el("li", { text: line }))) : null;
  const close = el("button", { type: "button", class: "plain", "aria-label": "Put this note away", text: "×" });
  const body = el("div", {}, el("p", { text: words }), list);
  const node = el("div", { class: "note", role: failed ? "alert" : "status", "data-tone": failed ? "bad" : "good" }, body, close);
  close.addEventListener("click", () => node.remove());
  by("notes").append(node);
  if (!failed) setTimeout(() => node.remove(), lines.length ? 20_000 : 6_000);
}
