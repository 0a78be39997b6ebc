"""The polling transport: an ASGI app that serves the engine's sessions (Engine.IO v4 protocol, "HTTP long-polling").

An app puts `EnginePaths` in front of everything else, so that a poll passes no other middleware. Each request runs in
the HTTP server's task:

- a GET waits in a future that the session completes with packets;
- a POST is read within the session's limits, one at a time; its bytes count against the input budget while they come,
  and its packets are worked off in parts, a few in a turn of the loop (`reading.ReadScheduler`).

The HTTP server limits how long a request may take.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from starlette.types import ASGIApp, Receive, Scope, Send

from parley.common.wire.disconnects import DisconnectReason
from parley.engineio.metrics import LIMIT_HITS
from parley.engineio.packets import Incoming, MalformedPayload, Packet, encode_payload
from parley.engineio.reading import FREE_BYTES, FREE_FRAMES, READ_FRAMES, ReadScheduler
from parley.engineio.request import (
    Refusal,
    TransportRequest,
    bad_method,
    bad_request,
    overloaded,
    request_of,
    unknown_session,
    unknown_transport,
)
from parley.engineio.server import STATE_KEY, Engine
from parley.engineio.session import Session
from parley.engineio.transports import NotPolling

_TEXT = b"text/plain; charset=UTF-8"
_JSON = b"application/json"
_BINARY = b"application/octet-stream"


class _Poll:
    """A GET that waits for packets; a `transports.Poll`."""

    __slots__ = ("packets",)

    def __init__(self) -> None:
        self.packets: asyncio.Future[list[Packet]] = asyncio.get_running_loop().create_future()

    def answer(self, packets: list[Packet]) -> None:
        """Complete the request with packets; none means that the session is gone."""
        if not self.packets.done():
            self.packets.set_result(packets)


class PostBeingRead:
    """A POST whose body is read, and whose packets are then worked off in parts; a `transports.Post`.

    | state | input | next |
    |---|---|---|
    | reading | `abandon` | the reader gets `TimeoutError` |
    | reading | `work_off` | working: a first part is taken at once, or it waits for its turn |
    | working | `read_on` | working, or done: `done` is completed with the last part |
    | working | the session ends, or a packet is malformed | done: `done` is completed, or raises |
    """

    __slots__ = ("_body", "_incoming", "_input", "_position", "_read", "_reading", "_session", "binary", "done")

    def __init__(self, session: Session, scheduler: ReadScheduler, reading: asyncio.Timeout) -> None:
        self._session = session
        self._input = scheduler
        self._reading = reading
        self._read = False
        self._body = b""
        self._incoming: Sequence[Incoming] | None = None
        self._position = 0
        self.binary = False
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def begun(self) -> bool:
        """Whether its body was split into packets, which take more memory than the body."""
        return self._incoming is not None

    def abandon(self) -> None:
        """Stop reading, unless the body was read or its reader was cancelled already."""
        if self._read:
            return
        with suppress(RuntimeError):
            self._reading.reschedule(asyncio.get_running_loop().time())

    def work_off(self, body: bytes) -> None:
        """Work off the whole body. `done` is completed, or raises `NotPolling` or `MalformedPayload`."""
        self._read, self._body = True, body
        if not self._input.exhausted:
            self._work_off(READ_FRAMES)
        elif len(body) <= FREE_BYTES:
            # As a rule it is one event of a client, which need not wait for others that send much.
            self._work_off(FREE_FRAMES)
        else:
            self._input.wait(self)

    def read_on(self) -> None:
        """Work off the next part, when the scheduler calls."""
        self._work_off(READ_FRAMES)

    def _work_off(self, allowance: int) -> None:
        if self.done.done():
            return
        session, size = self._session, len(self._body)
        try:
            if self._incoming is None:
                self._incoming, self._body = session.decode_post(self._body, binary=self.binary), b""
            part = self._incoming[self._position : self._position + allowance]
            session.take(part)
        except (NotPolling, MalformedPayload) as error:
            self.done.set_exception(error)
            return
        self._position += len(part)
        if len(part) > FREE_FRAMES or size > FREE_BYTES:
            self._input.spent(len(part), size)
        if self._position < len(self._incoming) and not session.over:
            self._input.go_on(self)
        else:
            session.post_over(self)
            self.done.set_result(None)


class EnginePaths:
    """ASGI middleware: HTTP requests on an engine's path are served by the engine, all others by the app."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        engine = None
        if scope["type"] == "http":
            engines: dict[bytes, Engine] = scope.get("state", {}).get(STATE_KEY, {})
            engine = engines.get(scope["path"].rstrip("/").encode())
        await (self._app if engine is None else Polling(engine))(scope, receive, send)


class Polling:
    """Serves the HTTP requests of one `Engine`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request."""
        cors: list[tuple[bytes, bytes]] = []
        try:
            request = request_of(scope)
            cors = self._cors(request)
            # A preflight (Fetch standard, section "CORS protocol") names no session, and begins none.
            if request.method == "OPTIONS":
                await _respond(send, 204, _TEXT, b"", cors)
                return
            self._engine.check(request)
            if request.transport == "websocket":
                # A request for a WebSocket without its Upgrade header, which a proxy must have dropped.
                raise bad_request()
            if request.transport != "polling":
                raise unknown_transport()
            await self._serve(request, receive, send, cors)
        except Refusal as refusal:
            await _respond(send, refusal.status, _JSON, refusal.body, cors)

    async def _serve(
        self, request: TransportRequest, receive: Receive, send: Send, cors: list[tuple[bytes, bytes]]
    ) -> None:
        if not request.sid:
            if request.method != "GET":
                raise bad_method()
            session = self._engine.begin(request)
            session.open(None)
            self._engine.opened(session)
            await self._answer(session, request, receive, send, cors)
        elif request.method == "GET":
            # Asked first: a session that was closed is not found any more, and its last packets wait for this poll.
            farewell = self._engine.farewell(request.sid)
            if farewell:
                await _packets(send, request, farewell, cors)
            else:
                await self._answer(self._engine.find(request), request, receive, send, cors)
        elif request.method == "POST":
            session = self._engine.find(request)
            try:
                await self._post(session, request, receive)
            except (NotPolling, MalformedPayload) as error:
                raise bad_request() from error
            await _respond(send, 200, b"text/html", b"ok", cors)
        else:
            raise bad_request()

    async def _answer(
        self, session: Session, request: TransportRequest, receive: Receive, send: Send, cors: list[tuple[bytes, bytes]]
    ) -> None:
        poll = _Poll()
        try:
            session.poll(poll, request.stamp)
        except NotPolling as error:
            raise bad_request() from error
        if not poll.packets.done():
            # Whatever comes first: packets, or the end of a client that would never read them.
            hung_up = asyncio.ensure_future(_hung_up(receive))
            try:
                await asyncio.wait({poll.packets, hung_up}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                hung_up.cancel()
                if not poll.packets.done():
                    session.poll_cancelled(poll)
        if poll.packets.done():
            if not (answer := poll.packets.result()):
                raise unknown_session()
            await _packets(send, session, answer, cors)

    async def _post(self, session: Session, request: TransportRequest, receive: Receive) -> None:
        """Read the body of a POST, up to the session's limit, and work it off.

        The bytes that have come count against the budget until they are worked off. Reading stops when the session
        ends, for instance because of a second POST. Raises `NotPolling`, `MalformedPayload` and `Refusal`.
        """
        limit = session.max_message
        declared = request.headers.get("content-length", "")
        # Refused before the body comes. Where no length is declared, the loop below counts.
        if declared.isdigit() and int(declared) > limit:
            raise _too_big(limit)
        body, held = bytearray(), 0
        try:
            # Without a time of its own: `abandon` reschedules it to now, which ends the wait for more.
            async with asyncio.timeout(None) as reading:
                post = PostBeingRead(session, self._engine.input, reading)
                post.binary = request.headers.get("content-type", "") == _BINARY.decode()
                session.begin_post(post)
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        session.post_cancelled(post)
                        raise NotPolling
                    body += message.get("body", b"")
                    if len(body) > limit:
                        session.post_over(post)
                        raise _too_big(limit)
                    if not message.get("more_body", False):
                        break
                    held = self._hold(session, len(body), held)
            post.work_off(bytes(body))
            # A large body counts until the last of its packets was taken, and not only until it was read.
            if not post.done.done():
                held = self._hold(session, len(body), held)
            await post.done
        except TimeoutError as error:
            raise NotPolling from error
        finally:
            self._engine.budget.give_back(session, held)

    def _hold(self, session: Session, size: int, held: int) -> int:
        """Count `size` bytes of a body, `held` of which are counted already. Return how many are counted now.

        Raises `Refusal` and ends the session when that is too much.
        """
        if (counted := self._engine.budget.hold(session, size, held)) is None:
            self._engine.limited("input_memory")
            session.fail(DisconnectReason.OVERLOADED)
            raise overloaded()
        return counted

    def _cors(self, request: TransportRequest) -> list[tuple[bytes, bytes]]:
        origin = request.headers.get("origin")
        if origin is None or not self._engine.allows_origin(request):
            return []
        headers = [
            (b"access-control-allow-origin", origin.encode("latin-1")),
            (b"access-control-allow-credentials", b"true"),
            (b"vary", b"Origin"),
        ]
        if request.method == "OPTIONS":
            headers.append((b"access-control-allow-methods", b"OPTIONS, GET, POST"))
            asked = request.headers.get("access-control-request-headers", "")
            if asked:
                headers.append((b"access-control-allow-headers", asked.encode("latin-1")))
        return headers


def _too_big(limit: int) -> Refusal:
    LIMIT_HITS.labels("message").inc()
    return Refusal(3, f"At most {limit} bytes in one request", 413)


async def _hung_up(receive: Receive) -> None:
    """Wait until the client closes the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _packets(
    send: Send, client: Session | TransportRequest, packets: list[Packet], cors: list[tuple[bytes, bytes]]
) -> None:
    body, binary = encode_payload(packets, client.revision, base64_only=client.base64_only)
    await _respond(send, 200, _BINARY if binary else _TEXT, body, cors)


async def _respond(send: Send, status: int, content_type: bytes, body: bytes, cors: list[tuple[bytes, bytes]]) -> None:
    headers = [
        (b"content-type", content_type),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        *cors,
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
