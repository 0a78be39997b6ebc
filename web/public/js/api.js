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

  /** A page of this user's rooms with what is unread in them, the most active first: `{rooms, more, next}`. */
  myRooms(after = "") {
    return this._get(`/api/me/rooms?${new URLSearchParams({ limit: "1000", after })}`);
  }

  /** Announces a file `{name, size, type, sha256}`: `{id, parts, part_size}`. */
  announce(file) {
    return this._post("/api/uploads", file);
  }

  /** Sends one part of a file; `progress` is called with the bytes that are on their way. */
  async sendPart(id, part, bytes, { progress, signal }) {
    return sendBytes(`/api/uploads/${encodeURIComponent(id)}/parts/${part}`, bytes, await this._session.token(), progress, signal);
  }

  /** Ends an upload: `{upload}`. */
  completeUpload(id) {
    return this._post(`/api/uploads/${encodeURIComponent(id)}/complete`, {});
  }

  /** Gives up a file that no message has. */
  dropUpload(id) {
    return this._send("DELETE", `/api/uploads/${encodeURIComponent(id)}`);
  }

  _get(path) {
    return this._send("GET", path);
  }

  _post(path, body) {
    return this._send("POST", path, body);
  }

  async _send(method, path, body) {
    const token = await this._session.token();
    try {
      return await request(method, path, { token, body });
    } catch (error) {
      if (error.status !== 401) throw error;
      // The server's clock or a revocation outran ours: one fresh token, one more try.
      return request(method, path, { token: await this._session.token({ refused: token }), body });
    }
  }
}

/** `fetch` does not tell how much of a body is sent, so this one is done the old way. */
function sendBytes(path, bytes, token, progress, signal) {
  return new Promise((resolve, reject) => {
    const sending = new XMLHttpRequest();
    const failed = (error) => reject(new RequestError(error, sending.status));
    sending.open("PUT", path);
    sending.setRequestHeader("authorization", `Bearer ${token}`);
    sending.upload.onprogress = ({ loaded }) => progress(loaded);
    sending.onload = () => (sending.status < 300 ? resolve() : failed(errorIn(sending.responseText) ?? unnamed(sending.status)));
    sending.onerror = () => failed({ code: "unreachable", message: "The server cannot be reached.", retryable: true });
    sending.onabort = () => failed({ code: "aborted", message: "The upload was stopped." });
    signal?.addEventListener("abort", () => sending.abort(), { once: true });
    sending.send(bytes);
  });
}

function errorIn(text) {
  try {
    return JSON.parse(text).error;
  } catch {
    return null;
  }
}
