// The API, as a program asks it: JSON, problem details, and a token where the engine wants one.

import { engineClock } from "./format.js";

const BASE = new URL("../", import.meta.url);
const TOKEN = "anabranch.token";
const PATIENCE = 8000;

/** What the engine says is wrong with a request. */
export class Problem extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

/** Nobody answers. */
export class NoContact extends Error {}

let remembered = null;

/** The token that this tab was given, if it was. */
export function token() {
  try {
    return sessionStorage.getItem(TOKEN) ?? remembered;
  } catch {
    return remembered;
  }
}

/** Keeps a token for this tab; null forgets it. */
export function keepToken(value) {
  remembered = value;
  try {
    if (value === null) sessionStorage.removeItem(TOKEN);
    else sessionStorage.setItem(TOKEN, value);
  } catch {
    // storage is forbidden: it is kept until the page is loaded again
  }
}

/** Headers that show the token; `own` in the place of the one that is kept. */
function headers(own) {
  const shown = own ?? token();
  // a header takes no other characters, and no token has any
  return shown === null ? {} : { Authorization: `Bearer ${shown.replace(/[^\x21-\x7e]/g, "?")}` };
}

/** Sends a request and gives the response, whatever its status. Throws NoContact. */
export async function send(path, { method = "GET", body, signal, more = {}, own } = {}) {
  const given = { ...headers(own), ...more };
  if (body !== undefined) given["Content-Type"] = "application/json";
  try {
    const sent = body === undefined ? undefined : JSON.stringify(body);
    return await fetch(new URL(path, BASE), { method, headers: given, body: sent, signal, cache: "no-store" });
  } catch (error) {
    throw new NoContact(error.message);
  }
}

/** What the answer to a request is: its JSON. Throws Problem or NoContact. */
export async function ask(path, options = {}) {
  const response = await send(path, { ...options, signal: options.signal ?? AbortSignal.timeout(PATIENCE) });
  if (!response.ok) throw await problem(response);
  engineClock(response.headers.get("Date"));
  try {
    return await response.json();
  } catch (error) {
    throw new NoContact(error.message);
  }
}

/** The problem that a response tells of. */
export async function problem(response) {
  let detail = "";
  try {
    detail = (await response.json()).detail;
  } catch {
    // a proxy in between says it in its own way
  }
  return new Problem(response.status, typeof detail === "string" && detail ? detail : `the answer was ${response.status}`);
}

const part = encodeURIComponent;

export const paths = {
  routes: "api/v1/routes",
  events: "api/v1/events?limit=500",
  stream: "api/v1/events/stream",
  openapi: "api/v1/openapi.json",
  reload: "api/v1/reload",
  route: (route) => `api/v1/routes/${part(route)}`,
  history: (route) => `api/v1/routes/${part(route)}/history`,
  order: (route, order) => `api/v1/routes/${part(route)}/${order}`,
  target: (route, target, order) => `api/v1/routes/${part(route)}/targets/${part(target)}/${order}`,
};
