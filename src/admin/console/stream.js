// Events as they happen: server-sent events over fetch, which can show a token. Taken up again by itself where it ends, from the
// place where it was.

import { NoContact, problem, send, paths } from "./api.js";

/** Comments come every 15 s; where nothing does for so long, nobody is there. */
const SILENCE = 40_000;
const AGAIN = 2_000;

/** One frame of the stream: its fields. */
export function frame(text) {
  const fields = {};
  for (const line of text.split("\n")) {
    const colon = line.indexOf(":");
    if (colon > 0) fields[line.slice(0, colon)] = line.slice(colon + 1).trimStart();
  }
  return fields;
}

/**
 * Listens without end. `place()` gives the id to go on after; `heard({ id, event, data })` is called for each frame with data; `broken(error)`
 * when it ended, and may give a promise to wait for before it is begun again.
 */
export async function listen(place, heard, broken) {
  for (;;) {
    let failure = null;
    try {
      await once(await place(), heard);
    } catch (error) {
      failure = error;
    }
    await broken(failure);
    await new Promise((done) => setTimeout(done, AGAIN));
  }
}

async function once(after, heard) {
  const control = new AbortController();
  let watch = setTimeout(() => control.abort(), SILENCE);
  const alive = () => {
    clearTimeout(watch);
    watch = setTimeout(() => control.abort(), SILENCE);
  };
  try {
    const more = after === null ? {} : { "Last-Event-ID": after };
    const response = await send(paths.stream, { signal: control.signal, more });
    if (!response.ok) throw await problem(response);
    await frames(response.body, alive, heard);
  } finally {
    clearTimeout(watch);
    control.abort();
  }
}

async function frames(body, alive, heard) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    let chunk;
    try {
      chunk = await reader.read();
    } catch (error) {
      throw new NoContact(error.message);
    }
    if (chunk.done) return;
    alive();
    const parts = (rest + chunk.value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      const { id = null, event = "message", data } = frame(part);
      if (data !== undefined) heard({ id, event, data: JSON.parse(data) });
    }
  }
}
