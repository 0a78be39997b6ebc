/** HTTP to the one origin: JSON in, JSON out, and every failure a `RequestError` with the server's code. */

const TIMEOUT_MS = 15_000;

/** A request or command that was refused, or that no answer came to (`code` is then `unreachable` or `timeout`). */
export class RequestError extends Error {
  constructor({ code, message, retryable = false, data = null }, status = 0) {
    super(message);
    this.name = "RequestError";
    this.code = code;
    this.retryable = retryable;
    this.data = data;
    this.status = status;
  }
}

/** Sends a request and returns the body of a success. Raises `RequestError`. */
export async function request(method, path, { body, token } = {}) {
  const headers = { accept: "application/json" };
  if (body !== undefined) headers["content-type"] = "application/json";
  if (token) headers.authorization = `Bearer ${token}`;
  let response;
  try {
    response = await fetch(path, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.timeout(TIMEOUT_MS),
      cache: "no-store",
    });
  } catch {
    throw new RequestError({ code: "unreachable", message: "The server cannot be reached.", retryable: true });
  }
  const answer = await response.json().catch(() => null);
  if (response.ok && answer !== null) return answer;
  throw new RequestError(answer?.error ?? unnamed(response.status), response.status);
}

/** A proxy in front of the server answers with pages of its own; only the status tells what it meant. */
function unnamed(status) {
  if (status === 429) return { code: "rate_limited", message: "Too many requests; slow down.", retryable: true };
  return { code: "unreachable", message: `The server answered ${status}.`, retryable: status >= 500 || status < 400 };
}

/** The REST queries of a signed-in user. */
export class Api {
  constructor(session) {
    this._session = session;
  }

  /** Public rooms and the user's own, newest first, of which `before` is the last one had: `{rooms, more}`. */
  rooms({ search = "", before = "", limit = 100 } = {}) {
    const query = new URLSearchParams({ limit: String(limit) });
    if (search) query.set("search", search);
    if (before) query.set("before", before);
    return this._get(`/api/rooms?${query}`);
  }

  /** The first thousand members of a room: `{members: [{id, name, role, state}], more}`. */
  members(room) {
    return this._get(`/api/rooms/${encodeURIComponent(room)}/members?limit=1000`);
  }

  async _get(path) {
    const token = await this._session.token();
    try {
      return await request("GET", path, { token });
    } catch (error) {
      if (error.status !== 401) throw error;
      // The server's clock or a revocation outran ours: one fresh token, one more try.
      return request("GET", path, { token: await this._session.token({ refused: token }) });
    }
  }
}
