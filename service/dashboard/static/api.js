// The REST API. Failures are `ApiProblem`s whose message can be shown as it is.

export class ApiProblem extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export const getJson = (path) => request("GET", path);
export const postJson = (path, body) => request("POST", path, body);

async function request(method, path, sent) {
  let response;
  const headers = { Accept: "application/json", ...(sent === undefined ? {} : { "Content-Type": "application/json" }) };
  try {
    response = await fetch(path, { method, headers, body: sent === undefined ? undefined : JSON.stringify(sent) });
  } catch {
    throw new ApiProblem(0, "The service cannot be reached.");
  }
  // The session is over, or its token.
  if (response.status === 401) location.assign(`/login?next=${encodeURIComponent(location.pathname + location.search)}`);
  const body = await response.json().catch(() => null);
  if (!response.ok) throw new ApiProblem(response.status, body?.detail || body?.title || `The service answered ${response.status}.`);
  return body;
}
