"""Letting connections in: register, authenticate, and find the rooms.

Registering comes first on purpose, under the user that the token names. A ban is committed first and published then;
either this connection is registered when the kick arrives, or the ban is committed when auth reads it. There is no
third way.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from base64 import urlsafe_b64decode
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, TypeVar

import msgspec
from prometheus_client import Counter, Gauge

from parley.common import subjects
from parley.common.bus import Bus
from parley.common.errors import Code, Reject
from parley.common.logs import get_logger
from parley.common.wire.connections import ConnectReply, ConnectRequest
from parley.common.wire.identity import Authenticate, Identity
from parley.common.wire.rooms import MAX_BEHIND
from parley.gateway.admission.handshake import encoded, handshake_of
from parley.gateway.admission.middleware import MiddlewareRunner
from parley.gateway.connections.connection import Connection
from parley.gateway.connections.registry import ConnectionRegistry
from parley.gateway.engineio.session import Session
from parley.gateway.metrics import LIMIT_HITS
from parley.gateway.namespaces import Namespace
from parley.gateway.operations.operations import MAX_AD_HOC
from parley.gateway.recovery.recovery import Recovery
from parley.gateway.rooms.fanout import Fanout

log = get_logger(__name__)

CONNECTED = Gauge("parley_gateway_connections", "Open connections")
ADMISSIONS = Counter("parley_gateway_admissions_total", "Connection attempts by outcome", ["outcome"])

T = TypeVar("T")

PATIENCE = 10.0
"""Seconds to keep trying while another service is away, before the client is sent to try again."""
PAUSES = (0.1, 0.25, 0.5, 1.0)
MAX_TOKEN = 8192
MAX_CURSORS = 1000


class Admission:
    """Admits connections."""

    def __init__(
        self,
        bus: Bus,
        namespaces: Mapping[str, Namespace],
        connections: ConnectionRegistry,
        fanout: Fanout,
        recovery: Recovery,
        middleware: MiddlewareRunner,
        max_per_user: int,
    ) -> None:
        self._bus = bus
        self._namespaces = namespaces
        self._connections = connections
        self._fanout = fanout
        self._recovery = recovery
        self._middleware = middleware
        self._max_per_user = max_per_user

    async def admit(self, sid: str, session: Session, namespace: str, auth: dict[str, Any]) -> Connection:
        """A registered connection whose user may be here. Raises `Reject`."""
        try:
            connection = await self._admit(sid, session, namespace, auth)
        except Reject as rejection:
            ADMISSIONS.labels(str(rejection.code)).inc()
            log.info(
                "connection refused", namespace=namespace, code=str(rejection.code), address=session.origin.address
            )
            raise
        ADMISSIONS.labels("admitted").inc()
        return connection

    async def _admit(self, sid: str, session: Session, namespace: str, auth: dict[str, Any]) -> Connection:
        claim = self._claim(namespace, auth)
        deadline = time.monotonic() + PATIENCE
        connection = Connection(sid, session, namespace, Identity(claimed_user(claim.token), ""), time.time())
        connection.cursors = _cursors(auth)
        connection.opening = sid
        handshake = handshake_of(connection, auth, self._namespaces[namespace].headers)
        self._connections.add(connection)
        try:
            connection.handshake = encoded(handshake)
            await self._authenticate(connection, claim, deadline)
            await self._middleware.enter(connection, handshake, lambda: self._open(connection, deadline, auth))
        except BaseException:
            self.forget(connection, "refused")
            raise
        return connection

    async def _authenticate(self, connection: Connection, claim: Authenticate, deadline: float) -> None:
        """Find out who it is and whether they may be here, while it is registered as theirs. Raises `Reject`."""
        for _ in range(2):
            identity = await self._patiently(
                deadline, lambda: self._bus.request(subjects.AUTHENTICATE, claim, Identity)
            )
            registered = identity.user_id == connection.identity.user_id
            self._connections.identify(connection, identity)
            # A guest is somebody new, whom nobody can have banned yet; for anybody else the answer must be one to a
            # question that was asked after registering.
            if registered or claim.guest:
                break
        else:
            raise Reject(Code.INVALID_TOKEN)
        connection.proved = True
        theirs = self._connections.of_user(identity.user_id)
        if sum(other.proved for other in theirs) > self._max_per_user:
            LIMIT_HITS.labels("connections_per_user").inc()
            raise Reject(Code.LIMIT_EXCEEDED, f"A user has at most {self._max_per_user} connections here.")

    async def _open(self, connection: Connection, deadline: float, auth: dict[str, Any]) -> None:
        """Ask the service to admit it, and for what it had before. Raises `Reject`."""
        identity, namespace = connection.identity, connection.namespace
        self._fanout.enter_user_room(connection)
        request = ConnectRequest(self._bus.address, connection.sid, identity, connection.handshake, connection.kept)
        # Whatever the service has begun for it must end if this fails.
        connection.admitted = ConnectReply(notices=("closed",))
        connection.admitted = opened = await self._patiently(
            deadline, lambda: self._bus.request(subjects.opening(namespace), request, ConnectReply)
        )
        if opened.session is not None:
            connection.kept = opened.session
        # Last of all: what is sent between this and CONNECT, and is in no log, is lost to it.
        recovered = await self._recovery.claim(namespace, identity.user_id, auth)
        if connection.ended:
            raise Reject(Code(connection.ended))
        if recovered is not None:
            self._connections.rename(connection, recovered.sid)
            connection.recovered, connection.cursors = recovered, recovered.cursors
            connection.kept = recovered.session or connection.kept
        self._recovery.begin(connection, auth["pid"] if recovered else "")

    def _claim(self, namespace: str, auth: dict[str, Any]) -> Authenticate:
        token = auth.get("token", "")
        if not isinstance(token, str) or len(token) > MAX_TOKEN:
            raise Reject(Code.INVALID_TOKEN)
        guest = self._namespaces[namespace].auth == "guest"
        if not token and not guest:
            raise Reject(Code.MISSING_TOKEN)
        return Authenticate(token, guest=guest and not token)

    def opened(self, connection: Connection) -> None:
        """CONNECT was sent: put the connection into its rooms, from its cursors where it named them."""
        CONNECTED.inc()
        connection.opened = True
        recovered = connection.recovered
        for membership in connection.admitted.rooms:
            room, head = membership.room, membership.head
            connection.moved[room] = membership.joined
            cursor = connection.cursors.get(room)
            if recovered is not None:
                # Nothing from before they came in, or came in again, was for them.
                cursor = max(cursor or 0, membership.joined - 1)
            if cursor is not None and not 0 <= head - cursor <= MAX_BEHIND:
                self._fanout.send_event(connection, "reset", {"room": room, "sequence": head})
                cursor = None
            self._fanout.enter(connection, room, head=head, after=cursor)
        self._fanout.open(connection)
        if recovered is not None:
            for room in recovered.rooms:
                connection.enter_ad_hoc(room)
                cursor = recovered.cursors.get(room)
                self._fanout.enter(connection, room, head=cursor, after=cursor)
            for missed in recovered.missed:
                self._fanout.send_unlogged(connection, missed)
        for room in connection.admitted.joins[:MAX_AD_HOC]:
            connection.enter_ad_hoc(room)
            self._fanout.enter(connection, room)
        for greeting in connection.admitted.greetings:
            self._fanout.send_unlogged(connection, greeting)
        connection.admitted = ConnectReply(notices=connection.admitted.notices)
        connection.cursors, connection.recovered = {}, None

    def forget(self, connection: Connection, reason: str, *, parked: bool = False) -> None:
        """A connection is gone, or was not admitted; a parked one may be claimed and keeps its rooms until then."""
        connection.ended = connection.ended or "closed"
        self._middleware.leave(connection, reason)
        if not parked:
            self._fanout.leave_all(connection)
        self._connections.remove(connection)
        if connection.opened:
            CONNECTED.dec()

    async def _patiently(self, deadline: float, attempt: Callable[[], Awaitable[T]]) -> T:
        """Try until the deadline while the answer is one that may change by itself."""
        pauses = itertools.chain(PAUSES, itertools.repeat(PAUSES[-1]))
        while True:
            try:
                return await attempt()
            except Reject as rejection:
                if not rejection.retryable or time.monotonic() >= deadline:
                    raise
            await asyncio.sleep(next(pauses))


def claimed_user(token: str) -> str:
    """Whose token it says it is; nobody has checked that. Empty for what is no JSON Web Token."""
    try:
        payload = token.split(".")[1]
        return msgspec.json.decode(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)), type=_Claims).sub
    except (IndexError, ValueError, msgspec.DecodeError, RecursionError):
        return ""


class _Claims(msgspec.Struct):
    sub: str


def _cursors(auth: Any) -> dict[str, int]:
    """The well-formed cursors of a CONNECT payload; a malformed one is as good as none."""
    try:
        return msgspec.convert(auth, _Cursors).cursors
    except msgspec.ValidationError:
        return {}


class _Cursors(msgspec.Struct):
    cursors: Annotated[dict[str, int], msgspec.Meta(max_length=MAX_CURSORS)] = {}
