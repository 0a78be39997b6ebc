"""The life of a connection, from a client's CONNECT to its end, whoever ends it.

| state | what happens | state afterwards | what the client is told |
|---|---|---|---|
| - | CONNECT | attempting | nothing yet |
| attempting | everything is settled | open | CONNECT |
| attempting | refused for good, kick | ended | CONNECT_ERROR with the code |
| attempting | refused for now, nothing else joined | ended | the transport is closed; stock clients reconnect |
| attempting | refused for now, something else joined | attempting, after a pause | nothing |
| attempting | DISCONNECT, CONNECT again, the transport is lost | ended | nothing |
| open | DISCONNECT by the client | ended: `client namespace disconnect` | nothing |
| open | CONNECT again | ended: `replaced`; another one is attempting | the result of the other one |
| open | the transport is lost, a limit, drain | parked or ended, by the reason | nothing |
| open | the token expires, with `expires = true` | parked or ended: `expired_token` | the transport is closed |
| open | a service disconnects it | ended: `server disconnect` | DISCONNECT |
| open | the same with `close` | the same, in every namespace | DISCONNECT in each; the transport is closed |
| open | its user or login is kicked | ended: the code | `kicked`, DISCONNECT in each; the transport is closed |
| parked | claimed | ended; it goes on as another one, under the same sid | CONNECT with that sid |
| parked | too late, or its user or login is kicked | ended | nothing |

Attempting is one task per client and namespace, and only what is sent into that namespace waits for it. Opening is one
step without an `await`, so nothing can end a connection half-way.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Collection, Iterable, Mapping
from functools import partial
from typing import Any

from prometheus_client import Counter, Gauge

from parley.common.errors import Code, Reject
from parley.common.http.address_ranges import AddressRanges
from parley.common.process.logs import get_logger
from parley.common.process.tasks import Tasks
from parley.common.rate_limiter import RateLimiter
from parley.common.wire.disconnects import KICK_REASONS, RECOVERABLE, DisconnectReason, reason_of
from parley.common.wire.identity import Identity
from parley.common.wire.recovery import Recovered
from parley.engineio.websocket.frames import GOING_AWAY, NORMAL
from parley.gateway.admission.admission import PATIENCE, Admission
from parley.gateway.admission.connection_middleware import MiddlewareRunner
from parley.gateway.admission.standing_check import StandingCheck
from parley.gateway.commands.event_middleware import EventMiddleware
from parley.gateway.commands.forwarder import CommandForwarder
from parley.gateway.connections.connection import Connection, ConnectionState
from parley.gateway.connections.connection_registry import ConnectionRegistry
from parley.gateway.namespaces import Namespace
from parley.gateway.operations.client_acks import ClientAcks
from parley.gateway.presence.room_presence import RoomPresence
from parley.gateway.process.boot_clock import boot_time
from parley.gateway.recovery.recovery import Recovery, RecoveryToken
from parley.gateway.rooms.fanout import Fanout
from parley.gateway.socketio.attempt import Attempt
from parley.gateway.socketio.client import Client
from parley.gateway.socketio.server import SocketIoServer

log = get_logger(__name__)

CONNECTED = Gauge("parley_gateway_connections", "Open connections")
ADMISSIONS = Counter("parley_gateway_admissions_total", "Connection attempts by outcome", ["outcome"])
_ADMITTED = ADMISSIONS.labels("admitted")
KICKED_CONNECTIONS = Counter("parley_gateway_kicked_total", "Connections ended by an operator", ["code"])

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Seconds until a refusal that may go away by itself is tried again: the first time, and at most."""
REFUSALS_PER_SECOND, REFUSALS_BURST = 5.0, 100
"""Refusals of one address. Each further one closes its transport and is not logged."""
SOON = 1.0
"""Seconds that a connection lives at least, however little time its token had left."""


class Lifecycle:
    """Begins, opens and ends the connections of one gateway. The module says which states there are."""

    def __init__(
        self,
        server: SocketIoServer,
        namespaces: Mapping[str, Namespace],
        connections: ConnectionRegistry,
        admission: Admission,
        fanout: Fanout,
        recovery: Recovery,
        middleware: MiddlewareRunner,
        events: EventMiddleware,
        forwarder: CommandForwarder,
        acks: ClientAcks,
        standing: StandingCheck,
        presence: RoomPresence,
    ) -> None:
        self._server = server
        self._namespaces = namespaces
        self._connections = connections
        self._admission = admission
        self._fanout = fanout
        self._recovery = recovery
        self._middleware = middleware
        self._events = events
        self._forwarder = forwarder
        self._acks = acks
        self._standing = standing
        self._presence = presence
        self.refusals = RateLimiter(REFUSALS_PER_SECOND, REFUSALS_BURST)
        """By address. `Gateway` sweeps it."""
        self._tasks = Tasks()

    async def close(self) -> None:
        """Cancel the attempts that are still running."""
        await self._tasks.close()

    # -- attempting ------------------------------------------------------------------------------------------------

    def connect(self, client: Client, namespace: str, auth: Mapping[str, Any]) -> None:
        """Begin a client's attempt to join a namespace. A task of its own carries it on until it is answered."""
        attempt = client.namespaces[namespace] = Attempt(client, namespace, auth)
        self._tasks.spawn(self._attempt(attempt), name="attempt")

    async def _attempt(self, attempt: Attempt) -> None:
        # Known to the attempt, so that whoever ends it can cancel whatever it waits for.
        attempt.task = asyncio.current_task()
        patience, pause = PATIENCE, FIRST_PAUSE
        while not attempt.answered:
            try:
                await self._try(attempt, patience)
                return
            except Reject as failure:
                rejection = failure
            except Exception:
                log.exception("attempt failed", namespace=attempt.namespace)
                # A fault of our own: the next try would fail in the same way.
                rejection = Reject(Code.INTERNAL, retryable=False)
            # Whatever comes next, this try is undone: neither its middleware nor its service must wait for its end.
            self._withdraw(attempt, DisconnectReason.REFUSED)
            if not rejection.retryable:
                self._refuse(attempt, rejection)
            elif not attempt.client.joined:
                # Nothing else is lost with this transport, and a stock client comes back by itself, perhaps elsewhere.
                ADMISSIONS.labels(str(rejection.code)).inc()
                attempt.client.session.close(reason_of(rejection.code, DisconnectReason.UNAVAILABLE), GOING_AWAY)
            else:
                # Stock clients wait for the answer to CONNECT for as long as it takes, so this goes on for ever.
                if patience:
                    log.warning("admission waits", namespace=attempt.namespace, code=str(rejection.code))
                patience = 0.0
                await asyncio.sleep(pause * random.uniform(0.75, 1.25))  # noqa: S311 - so that not all come at once
                pause = min(pause * 2, LONGEST_PAUSE)

    async def _try(self, attempt: Attempt, patience: float) -> None:
        sid = self._server.sid_for(attempt.client, attempt.namespace)
        connection = attempt.connection = Connection(
            sid, attempt.client.session, attempt.namespace, NOBODY, time.time()
        )
        found = await self._admission.admit(attempt, connection, patience)
        rooms = self._admission.rooms_of(attempt, found)
        async with self._fanout.held_open(connection.namespace, rooms) as attempt.waited:
            recovered = await self._admission.claim(connection, found)
            # Whoever ended the attempt has cancelled this task too. From here to CONNECT nothing is awaited.
            if not attempt.answered:
                self._open(attempt, connection, recovered)

    def _open(self, attempt: Attempt, connection: Connection, recovered: Recovered | None) -> None:
        # Nothing is awaited in here. The order matters: what a client is sent by entering its rooms must come after
        # CONNECT, and what it emitted too early must reach its service after the event `connect`.
        held = self._server.release(attempt)
        attempt.answered = True
        connection.state = ConnectionState.OPEN
        CONNECTED.inc()
        _ADMITTED.inc()
        self._standing.watch(connection)
        if recovered is not None:
            connection.data = recovered.data or connection.data
            self._standing.check_soon(connection)
        recovery_token = RecoveryToken.of(attempt.auth)
        self._recovery.begin(
            connection,
            recovery_token.pid if recovered is not None and recovery_token is not None else "",
            recovery_token.offset if recovery_token is not None else "",
        )
        self._server.admit(connection)
        self._presence.opened(connection, attempt.auth)
        self._admission.enter_rooms(attempt, connection, recovered)
        if connection.end_reason is not None:
            # What it missed was more than its buffer takes, and that ended its session within `enter_rooms`.
            self._forget_rooms(connection)
            return
        self._forwarder.send_lifecycle(connection, "connect", recovered is not None)
        expires_at = connection.identity.expires_at
        if expires_at and self._namespaces[connection.namespace].expires:
            # As auth counted it, since this host's clock may be minutes off.
            seconds = max(SOON, connection.identity.valid_for)
            # By its sid: the engine's timer must not keep a connection alive that is gone.
            then = partial(self._expire, connection.sid, expires_at)
            connection.expiry = self._server.engine.call_later(seconds, then)
        for packet in held:
            self._server.take_held(connection, packet)

    def _forget_rooms(self, connection: Connection) -> None:
        """Take a connection out of its rooms that could not take what it was sent in them."""
        if connection.state is not ConnectionState.PARKED:
            self._fanout.leave_all(connection)

    def _expire(self, sid: str, expires_at: float) -> None:
        connection = self._connections.get(sid)
        if connection is not None and connection.identity.expires_at == expires_at:
            self.end(connection, DisconnectReason.EXPIRED_TOKEN)

    def _refuse(self, attempt: Attempt, rejection: Reject) -> None:
        client, address = attempt.client, attempt.client.session.address
        self._abandon(attempt, DisconnectReason.REFUSED)
        ADMISSIONS.labels(str(rejection.code)).inc()
        self._server.refuse(client, attempt.namespace, rejection)
        if self.refusals.take(address, time.monotonic()):
            log.info("connection refused", namespace=attempt.namespace, code=str(rejection.code), address=address)
        elif not client.joined:
            client.session.close(DisconnectReason.RATE_LIMITED)

    def _abandon(self, attempt: Attempt, reason: DisconnectReason) -> None:
        """End an attempt for whose answer nobody waits any more."""
        attempt.answered = True
        self._server.release(attempt)
        # Never itself: the attempt that refuses itself has still to tell its client.
        if attempt.task is not None and attempt.task is not asyncio.current_task():
            attempt.task.cancel()
        self._withdraw(attempt, reason)

    def _withdraw(self, attempt: Attempt, reason: DisconnectReason) -> None:
        """Undo what the current try of an attempt has done."""
        connection = attempt.connection
        if connection is None or connection.state is not ConnectionState.ATTEMPTING:
            return
        connection.state, connection.end_reason = ConnectionState.ENDED, reason
        self._connections.remove(connection)
        self._middleware.leave(connection, reason)
        self._fanout.leave_all(connection)

    # -- ending ----------------------------------------------------------------------------------------------------

    def end(self, connection: Connection, code: DisconnectReason, reason: str = "", *, close: bool = True) -> None:
        """End one connection from this side: with its transport, or only in its namespace.

        `reason` is for people, and goes with a kick.
        """
        client: Client = connection.session.client
        if connection.state is ConnectionState.ATTEMPTING:
            attempt = client.namespaces.get(connection.namespace)
            if isinstance(attempt, Attempt) and attempt.connection is connection:
                self._refuse(attempt, Reject(_code_of(code), reason or None, retryable=False))
        elif connection.state is ConnectionState.OPEN:
            if close:
                self._close(client, code, reason)
            else:
                self._say(connection, code, reason)
                self._finish(connection, code)
        elif connection.state is ConnectionState.PARKED:
            self._recovery.forget_connection(connection)

    def disconnect(self, connection: Connection, close: bool) -> None:
        """End a connection that a service disconnects: in its namespace, or with `close` its transport too."""
        self.end(connection, DisconnectReason.SERVER_DISCONNECT, close=close)

    def end_user(
        self, user_id: str, code: Code, reason: str, logins: Collection[str] = (), min_age: float = 0.0
    ) -> int:
        """End every connection of a user, or those of some logins or of an age in seconds, whatever its state.

        Returns how many there were, without parked ones. Each transport is told of it once, in every namespace, and
        closed.
        """
        why = reason_of(code, DisconnectReason.KICKED)
        born_before = boot_time() - min_age
        self._recovery.forget(user_id, logins, born_before)
        connections = [
            connection
            for connection in self._connections.of_user(user_id)
            if not min_age or connection.registered_at <= born_before
        ]
        if logins:
            connections = [connection for connection in connections if connection.identity.login in logins]
        # Those that only claim to be this user are refused too, since auth may have been asked about them before the
        # ban. They are not counted.
        ended = sum(connection.authenticated for connection in connections)
        self._kick(connections, why, reason, ended)
        if ended:
            log.info("kicked", user=user_id, code=str(why), connections=ended)
        return ended

    def end_addresses(self, ranges: AddressRanges, code: Code, reason: str, min_age: float = 0.0) -> int:
        """End every connection from ranges of addresses, in whatever state, as `end_user` does."""
        why, born_before = reason_of(code, DisconnectReason.KICKED), boot_time() - min_age
        theirs = [
            connection
            for connection in (*self._connections, *self._recovery.parked)
            if ranges.hold(connection.session.origin.address, 0.0) and connection.registered_at <= born_before
        ]
        ended = sum(connection.authenticated and connection.state is ConnectionState.OPEN for connection in theirs)
        self._kick(theirs, why, reason, ended)
        if ended:
            log.info("kicked by address", code=str(why), connections=ended)
        return ended

    def _kick(self, connections: Iterable[Connection], why: DisconnectReason, reason: str, counted: int) -> None:
        """End all of these connections, of which so many count as kicked."""
        for connection in connections:
            try:
                self.end(connection, why, reason)
            except Exception:
                log.exception("kick failed", sid=connection.sid)
                # However it failed, the connection of a banned user must not stay.
                connection.session.fail(why)
        if counted:
            KICKED_CONNECTIONS.labels(str(why)).inc(counted)

    def end_presumed_gone(self, connection: Connection) -> None:
        """End a connection that its service took for gone.

        The service has run what follows an end; the client reconnects.
        """
        connection.lifecycle_events = ()
        connection.session.close(DisconnectReason.GATEWAY_GONE, GOING_AWAY)

    def left(self, client: Client, namespace: str, reason: DisconnectReason) -> None:
        """End what a client has in one namespace, connection or attempt. Its transport stays."""
        found = client.namespaces.get(namespace)
        if isinstance(found, Attempt):
            self._abandon(found, reason)
        elif found is not None:
            self._finish(found, reason)

    def lost(self, client: Client, reason: DisconnectReason) -> None:
        """End what a client has in every namespace, because its transport is gone."""
        for namespace in list(client.namespaces):
            try:
                self.left(client, namespace, reason)
            except Exception:
                log.exception("end of a connection failed", namespace=namespace)

    def _close(self, client: Client, code: DisconnectReason, reason: str) -> None:
        """Tell every namespace of a transport why it ends, then close it, which ends each of them."""
        # A copy, because telling a namespace of its end may take it out.
        for found in list(client.namespaces.values()):
            try:
                if isinstance(found, Connection):
                    self._say(found, code, reason)
                elif code in KICK_REASONS:
                    self._refuse(found, Reject(_code_of(code), reason or None, retryable=False))
            except Exception:
                log.exception("a namespace was not told of its end", namespace=found.namespace)
        client.session.close(code, GOING_AWAY if code in RECOVERABLE else NORMAL)

    def _say(self, connection: Connection, code: DisconnectReason, reason: str) -> None:
        if code in KICK_REASONS:
            self._fanout.send_event(connection, "kicked", {"code": str(code), "reason": reason})
        # After a DISCONNECT stock clients stay away; without one they reconnect by themselves.
        if code not in RECOVERABLE:
            self._server.say_disconnect(connection)

    def _finish(self, connection: Connection, reason: DisconnectReason) -> None:
        """Do everything that the end of a connection takes on this side."""
        namespaces = connection.session.client.namespaces
        if namespaces.get(connection.namespace) is connection:
            del namespaces[connection.namespace]
        if connection.state is not ConnectionState.OPEN:
            return
        rooms = sorted(connection.rooms)
        if connection.expiry is not None:
            # Otherwise a client that comes and goes all day, with a token for years, leaves a timer each time.
            self._server.engine.cancel(connection.expiry)
            connection.expiry = None
        connection.state, connection.end_reason = ConnectionState.ENDED, reason
        CONNECTED.dec()
        self._connections.remove(connection)
        if connection.kicked:
            # Commands of a kicked user that were not sent yet must have no effect.
            self._forwarder.drop_queued(connection)
        # Parking reads its rooms, so it comes before they are left.
        if self._recovery.lose(connection, recoverable=reason in RECOVERABLE):
            connection.state = ConnectionState.PARKED
        else:
            self._fanout.leave_all(connection)
        self._presence.ended(connection)
        self._acks.lost(connection)
        self._middleware.leave(connection, reason)

        def notify() -> None:
            for event in ("disconnecting", "disconnect"):
                self._forwarder.send_lifecycle(connection, event, str(reason), rooms)

        # Services are told of the end after everything that the client had emitted, also what middleware still holds.
        self._events.after(connection, notify)


NOBODY = Identity("", "")


def _code_of(reason: DisconnectReason) -> Code:
    return Code(reason) if reason in KICK_REASONS else Code.FORBIDDEN
