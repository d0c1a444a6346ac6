// The REST API. Failures are `ApiProblem`s whose message can be shown as it is.

import { sentence } from "./format.js";

const PAGE = 500;

export class ApiProblem extends Error {
  /** `status` 0: no answer came. `errors` name fields: `{field, message}`. */
  constructor(status, message, errors = []) {
    super(message);
    this.status = status;
    this.errors = errors;
  }
}

export const getJson = (path) => request("GET", path);

/** All items of a list, page by page; `query` begins with "&". */
export async function getAll(path, query = "") {
  const items = [];
  for (let cursor = ""; cursor !== null; ) {
    const page = await getJson(`${path}?limit=${PAGE}${query}${cursor && `&cursor=${encodeURIComponent(cursor)}`}`);
    items.push(...page.items);
    cursor = page.next_cursor;
  }
  return items;
}

/** With a `key` (see `newKey`) the request may be repeated: it is done once. */
export const postJson = (path, body, key) => request("POST", path, body, key);
export const patchJson = (path, body) => request("PATCH", path, body);

/** A key by which a request that is repeated is known again. */
export function newKey() {
  // `crypto.randomUUID` is not there on pages that came by http from another machine.
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function request(method, path, sent, key) {
  let response;
  const headers = { Accept: "application/json" };
  if (sent !== undefined) headers["Content-Type"] = "application/json";
  if (key !== undefined) headers["Idempotency-Key"] = key;
  try {
    response = await fetch(path, { method, headers, body: sent === undefined ? undefined : JSON.stringify(sent) });
  } catch {
    throw new ApiProblem(0, "The service cannot be reached.");
  }
  // The session is over, or its token.
  if (response.status === 401) location.assign(`/login?next=${encodeURIComponent(location.pathname + location.search + location.hash)}`);
  const body = await response.json().catch(() => null);
  if (!response.ok) throw new ApiProblem(response.status, told(response.status, body) || `The service answered ${response.status}.`, body?.errors);
  return body;
}

/** What a problem document says. Where the service failed, its detail says what to do, and its title what happened. */
function told(status, body) {
  return status >= 500 ? [body?.title, body?.detail].filter(Boolean).map(sentence).join(" ") : body?.detail || body?.title;
}
