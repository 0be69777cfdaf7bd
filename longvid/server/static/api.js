// Requests to the server. Errors are its own sentences.

import { get } from "./state.js";

export class ApiError extends Error {
  constructor(status, body) {
    super(body?.error?.message ?? `The server answered with status ${status}.`);
    this.status = status;
    this.code = body?.error?.code ?? "";
  }
}

const HEADERS = { "X-Longvid": "1" };
let onLocked = () => {};

export function whenLocked(callback) {
  onLocked = callback;
}

function withStore(path) {
  const store = get("store");
  if (!store) return path;
  return `${path}${path.includes("?") ? "&" : "?"}store=${encodeURIComponent(store)}`;
}

async function checked(response) {
  if (response.ok) return response;
  const body = await response.json().catch(() => null);
  if (response.status === 401) onLocked();
  throw new ApiError(response.status, body);
}

export async function request(path, { method = "GET", body, form, signal } = {}) {
  const options = { method, headers: { ...HEADERS }, signal };
  if (body !== undefined) {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  } else if (form) {
    options.body = form;
  }
  return checked(await fetch(path, options));
}

export async function json(path, options) {
  return (await request(withStore(path), options)).json();
}

export function url(path) {
  return withStore(path);
}

// Yields {event, data} of a stream of server-sent events.
export async function* events(path, body, signal) {
  const response = await request(path, { method: "POST", body, signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    text += value;
    const blocks = text.split("\n\n");
    text = blocks.pop();
    for (const block of blocks) {
      const lines = block.split("\n");
      const name = lines.find((line) => line.startsWith("event: "))?.slice(7);
      const data = lines.find((line) => line.startsWith("data: "))?.slice(6);
      if (name && data) yield { event: name, data: JSON.parse(data) };
    }
  }
}
