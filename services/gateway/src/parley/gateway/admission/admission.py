"""Lets connections in: register, authenticate, ask the service, and find the rooms.

`Lifecycle` calls it for an attempt.

    1. Register the connection under the user that the token names.
    2. Authenticate, and find the parked connection if the client comes back.
    3. Run the gateway's connection middleware; its innermost function asks the service.
    4. Have the rooms' events heard here, claim the parked connection, send CONNECT, and enter the rooms.

Registering comes first on purpose. A ban is committed before it is published, so either this connection is registered
when the kick arrives, or the ban is committed when auth reads it. There is no third way.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from binascii import a2b_base64
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import msgspec

from parley.common.errors import Code, Reject
from parley.common.nats.bus import Bus
from parley.common.process.logs import get_logger
from parley.common.wire import subjects
from parley.common.wire.connections import ConnectReply, ConnectRequest
from parley.common.wire.identity import Authenticate, Identity, area_of
from parley.common.wire.recovery import Recovered
from parley.common.wire.rooms import MAX_BEHIND
from parley.engineio.metrics import LIMIT_HITS
from parley.gateway.admission.connection_middleware import MiddlewareRunner
from parley.gateway.admission.handshake import encoded, handshake_of
from parley.gateway.connections.connection import Connection
from parley.gateway.connections.connection_registry import ConnectionRegistry
from parley.gateway.namespaces import Namespace
from parley.gateway.operations.operations import MAX_AD_HOC
from parley.gateway.process.boot_clock import boot_time
from parley.gateway.recovery.recovery import FoundConnection, Recovery, RecoveryToken, TakenElsewhere
from parley.gateway.rooms.fanout import Fanout
from parley.gateway.socketio.attempt import Attempt

log = get_logger(__name__)

T = TypeVar("T")

PATIENCE = 10.0
"""Seconds to keep trying while another service is away, before the client is sent away to try again."""
PAUSES = (0.1, 0.25, 0.5, 1.0)
# Characters. Auth refuses longer ones too; here they cost no request.
MAX_TOKEN = 8192
MAX_ASKED = 3
"""Times that auth is asked about one attempt: again if it is somebody else than was claimed, or was just changed."""
# As many as rooms that a user may be in.
MAX_CURSORS = 1000
MAX_CURSOR = 2**53


class Admission:
    """Finds out whether a connection may be let in."""

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

    async def admit(self, attempt: Attempt, connection: Connection, patience: float) -> FoundConnection | None:
        """Register the connection of an attempt, and find out everything that letting it in takes. Raises `Reject`.

        Returns what has to be claimed, if the client comes back. If this fails, the caller takes the connection out
        again.
        """
        deadline = time.monotonic() + patience
        namespace = connection.namespace
        claim = self._claim(namespace, attempt.auth, connection.session.origin.address)
        connection.identity = claimed_identity(claim.token)
        handshake = handshake_of(connection, attempt.auth, self._namespaces[namespace].headers)
        connection.handshake = encoded(handshake)
        # Registered as whom its token claims, before auth is asked: a kick that comes in between finds it here.
        self._connections.add(connection)
        recovery_token = RecoveryToken.of(attempt.auth)
        connection.guest = claim.guest
        # The pid is a guest's only secret: whoever has it is that guest.
        found = await self._recovery.find(namespace, "", recovery_token) if claim.guest else None
        if found is not None and found.answer.identity is not None:
            self._connections.identify(connection, found.answer.identity)
        else:
            await self._authenticate(connection, claim, deadline)
        connection.authenticated = True
        user_id = connection.identity.user_id
        self._check_number(user_id)
        if not claim.guest:
            found = await self._recovery.find(namespace, user_id, recovery_token)
        if found is not None:
            if self._connections.get(found.answer.sid) is not None:
                raise TakenElsewhere
            self._connections.rename(connection, found.answer.sid)
        await self._middleware.enter(attempt, connection, handshake, lambda: self._ask(attempt, connection, deadline))
        return found

    @staticmethod
    def rooms_of(attempt: Attempt, found: FoundConnection | None) -> dict[str, int | None]:
        """Return the rooms that an attempt is about to enter, with their heads if the service named them."""
        ad_hoc = [*(found.answer.rooms if found is not None else ()), *attempt.reply.initial_rooms[:MAX_AD_HOC]]
        heads: dict[str, int | None] = dict.fromkeys(ad_hoc)
        return heads | {membership.room: membership.head for membership in attempt.reply.rooms}

    async def claim(self, connection: Connection, found: FoundConnection | None) -> Recovered | None:
        """Take over what a recovered connection had before. From here to CONNECT nothing may be awaited."""
        if found is None:
            return None
        try:
            # The last step, since an event that is in no log and is sent between this and CONNECT is lost to it.
            recovered = await self._recovery.claim(found, connection.identity.user_id)
        except TakenElsewhere:
            # The service knows this sid as the connection that goes on elsewhere, and must not be told of its end.
            connection.lifecycle_events = ()
            raise
        connection.registered_at = boot_time() - recovered.age
        return recovered

    async def _authenticate(self, connection: Connection, claim: Authenticate, deadline: float) -> None:
        """Find out whose the connection is and whether they may connect, while it is registered as theirs.

        Raises `Reject`.
        """
        for _ in range(MAX_ASKED):
            connection.doubtful = False
            identity = await self._patiently(
                deadline, lambda: self._bus.request(subjects.AUTHENTICATE, claim, Identity, repeat=True)
            )
            registered = identity.user_id == connection.identity.user_id
            self._connections.identify(connection, identity)
            # A guest is somebody new, whom nobody can have banned. For any other user auth must have been asked after
            # the connection was registered as theirs, so a token that lied about its user is asked about once more.
            if (registered or claim.guest) and not connection.doubtful:
                refusal = identity.refusal(area_of(connection.namespace), writes=False)
                if refusal is not None:
                    raise refusal
                return
        raise Reject(Code.INVALID_TOKEN)

    def _check_number(self, user_id: str) -> None:
        theirs = self._connections.of_user(user_id)
        # The cheap count first: the other one looks at each of them, for every connection that is admitted.
        if len(theirs) > self._max_per_user and sum(other.authenticated for other in theirs) > self._max_per_user:
            LIMIT_HITS.labels("connections_per_user").inc()
            raise Reject(Code.LIMIT_EXCEEDED, f"A user has at most {self._max_per_user} connections here.")

    async def _ask(self, attempt: Attempt, connection: Connection, deadline: float) -> None:
        """Ask the service to admit the connection, under the sid that it will have. Raises `Reject`."""
        if connection.end_reason is not None:
            # Middleware runs in a task of its own, and may get here after the attempt was given up.
            raise Reject(Code.UNAVAILABLE)
        # Before the service is asked: a join that is told between its answer and CONNECT must not be missed.
        self._fanout.enter_user_room(connection)
        request = ConnectRequest(
            self._bus.run_address, connection.sid, connection.identity, connection.handshake, connection.data
        )
        # Until the answer is here: if the service began something and its answer was lost, it must be told of the end.
        connection.lifecycle_events = ("closed",)
        attempt.reply = reply = await self._patiently(
            deadline, lambda: self._bus.request(subjects.connect(connection.namespace), request, ConnectReply)
        )
        connection.lifecycle_events = reply.lifecycle_events
        if reply.data is not None:
            connection.data = reply.data

    def _claim(self, namespace: str, auth: Mapping[str, Any], address: str) -> Authenticate:
        token = auth.get("token", "")
        if not isinstance(token, str) or len(token) > MAX_TOKEN:
            raise Reject(Code.INVALID_TOKEN)
        # A token is looked at in guest namespaces too: whoever has one is that user there.
        guest = self._namespaces[namespace].auth == "guest"
        if not token and not guest:
            raise Reject(Code.MISSING_TOKEN)
        return Authenticate(token, guest and not token, address)

    def enter_rooms(self, attempt: Attempt, connection: Connection, recovered: Recovered | None) -> None:
        """Put the connection into its rooms right after CONNECT, each from its cursor if the client named one."""
        cursors: Mapping[str, int | None] = read_cursors(attempt.auth) if recovered is None else recovered.cursors
        incarnation, said = attempt.reply.incarnation, attempt.auth.get("log")
        if recovered is None and incarnation and isinstance(said, str) and said != incarnation:
            # Sequences of another history say nothing about this one, even where they are smaller than its heads.
            # None for each of them, which resets these rooms.
            cursors = dict.fromkeys(cursors)
        own = subjects.user_room(connection.identity.user_id)
        for membership in attempt.reply.rooms:
            room, head = membership.room, membership.head
            connection.last_change[room] = membership.joined
            cursor = cursors.get(room)
            if recovered is not None and (cursor is not None or room != own):
                # What happened before its user joined, or joined again, was not for it.
                cursor = max(cursor or 0, membership.joined - 1)
            if not 0 <= head - cursor <= MAX_BEHIND if cursor is not None else room in cursors:
                self._fanout.send_event(connection, "reset", {"room": room, "sequence": head})
                cursor = None
            if cursor is None and attempt.waited:
                cursor = head  # what was published while NATS was waited for is for it
            self._fanout.enter(connection, room, head=head, after=cursor, joined=membership.joined)
        # Behind the rooms of the answer, which is older than the hints that came meanwhile.
        self._fanout.start_user_room(connection)
        if recovered is not None:
            for room in recovered.rooms:
                connection.enter_ad_hoc(room)
                after = recovered.cursors.get(room)
                self._fanout.enter(connection, room, head=after, after=after)
            for missed in recovered.missed:
                self._fanout.send_unlogged(connection, missed)
        for room in attempt.reply.initial_rooms[:MAX_AD_HOC]:
            connection.enter_ad_hoc(room)
            self._fanout.enter(connection, room)
        for greeting in attempt.reply.initial_events:
            self._fanout.send_unlogged(connection, greeting)

    async def _patiently(self, deadline: float, attempt: Callable[[], Awaitable[T]]) -> T:
        """Try until the deadline, as long as the refusal is one that may go away by itself."""
        pauses = itertools.chain(PAUSES, itertools.repeat(PAUSES[-1]))
        while True:
            try:
                return await attempt()
            except Reject as rejection:
                if not rejection.retryable or time.monotonic() >= deadline:
                    raise
            await asyncio.sleep(next(pauses))


def claimed_identity(token: str) -> Identity:
    """Return the user and the session that a token names, which nobody has verified; empty if it is no JSON Web Token.

    It is only used to register the connection before it is authenticated.
    """
    try:
        # A JSON Web Token has three parts between dots, of which the claims are the second (RFC 7519, section 7.2).
        payload = token.split(".", 2)[1]
        claims = _claims.decode(a2b_base64(payload.replace("-", "+").replace("_", "/") + "==="))
    except (IndexError, ValueError, msgspec.DecodeError, RecursionError):
        return Identity("", "")
    return Identity(claims.sub, "", login=claims.sid if isinstance(claims.sid, str) else "")


class _Claims(msgspec.Struct):
    sub: str
    sid: Any = ""


_claims = msgspec.json.Decoder(_Claims)


def read_cursors(auth: Mapping[str, Any]) -> dict[str, int | None]:
    """Return the cursors of a CONNECT payload.

    None stands for a malformed one, or one too many, whose room is reset.
    """
    said = auth.get("cursors")
    if not isinstance(said, msgspec.Raw):
        return {}
    try:
        cursors = _each.decode(said)
    except msgspec.ValidationError:
        return {}
    return {
        room: _cursor(value) if number < MAX_CURSORS else None for number, (room, value) in enumerate(cursors.items())
    }


_each = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _cursor(said: msgspec.Raw) -> int | None:
    try:
        value = msgspec.json.decode(said)
    except (msgspec.DecodeError, UnicodeError):  # such as 1e400, which is JSON
        return None
    # In JSON, 1.0 is the integer 1 (RFC 8259, section 6), and many languages write it so.
    if type(value) is float and value.is_integer():
        value = int(value)
    return value if type(value) is int and 0 <= value < MAX_CURSOR else None
