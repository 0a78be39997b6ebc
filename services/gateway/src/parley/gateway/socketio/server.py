"""The Socket.IO server: takes what clients send on Engine.IO sessions, cheapest check first, and answers them.

Before anything of a packet's payload is read, its head must name a namespace that the client is in or joining, it must
not be too large, and it must be within the client's rates of events and of bytes. What is wrong with a payload is told
to its sender, in the ack or as event `error`, and ends nothing. An invalid head closes the transport.

The engine calls `session_opened`, `message_received` and `session_ended`; `Gateway` is told what they mean
(`ServerEvents`). Socket.IO v5 protocol, "Packet types" and "Connection to a namespace".
"""

from __future__ import annotations

import os
import re
from base64 import urlsafe_b64encode
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Protocol

import msgspec

from parley.common.errors import Code, Reject
from parley.common.http.cors import allowed_origins
from parley.common.rate_limiter import Rate
from parley.common.wire.commands import error_payload
from parley.common.wire.disconnects import DisconnectReason, reason_of
from parley.engineio.metrics import LIMIT_HITS
from parley.engineio.packets import Packet
from parley.engineio.reading import UNCOUNTED_BYTES
from parley.engineio.request import MAX_FIELDS, TransportRequest, read_query
from parley.engineio.server import Engine
from parley.engineio.session import Session
from parley.gateway.connections.connection import Connection
from parley.gateway.namespaces import Namespace
from parley.gateway.settings import GatewaySettings
from parley.gateway.socketio import packets
from parley.gateway.socketio.attempt import Attempt
from parley.gateway.socketio.client import Client, UnfinishedPacket
from parley.gateway.socketio.packets import AckPacket, EventPacket, Head, InvalidPayload, MalformedPacket
from parley.gateway.socketio.unjoined import UnjoinedSessions

INVALID_NAMESPACE = {"message": "Invalid namespace"}
"""The words of Socket.IO's own server."""
MAX_CONNECT = 128 * 1024
"""Characters of a CONNECT payload: a token, a thousand cursors, and what middleware may want to know."""
CONNECTS_PER_SECOND, CONNECTS_BURST = 10.0, 100
"""CONNECTs of one transport. One that sends more is closed."""
CONNECT_FRAMES = 16
"""Frames that a CONNECT counts as in its turn of the loop, because it costs as much as so many events."""
NAME_ROOM = 2048
"""Characters that an event's name may add to its arguments."""
EXCESS_SECONDS = 10.0
"""Seconds after which it is forgotten that a client sent more than its rates allow."""


class ServerEvents(Protocol):
    """What the server reports of its clients, synchronously and in order."""

    def connect(self, client: Client, namespace: str, auth: Mapping[str, Any]) -> None:
        """A client asks to join a namespace that exists and that it is not in. It waits for CONNECT."""
        ...

    def left(self, client: Client, namespace: str, reason: DisconnectReason) -> None:
        """A client leaves a namespace that it is in or joining, and keeps its transport."""
        ...

    def lost(self, client: Client, reason: DisconnectReason) -> None:
        """A client's transport has closed, and with it everything that the client has in namespaces."""
        ...

    def event_received(self, connection: Connection, packet: EventPacket) -> None:
        """A client emitted an event."""
        ...

    def ack_received(self, connection: Connection, packet: AckPacket) -> None:
        """A client answered an event that asked for an ack."""
        ...


class SocketIoServer:
    """The clients of one gateway, on one `Engine`. `events` is told what they do, and packets are sent through this."""

    def __init__(
        self, settings: GatewaySettings, instance: str, namespaces: Mapping[str, Namespace], events: ServerEvents
    ) -> None:
        self._settings = settings
        self._instance = instance
        self._namespaces = namespaces
        self._events = events
        self._event_rate = Rate(settings.gateway_events_per_second, settings.gateway_events_burst)
        self._byte_rate = Rate(settings.gateway_bytes_per_second, settings.gateway_bytes_burst)
        self._connect_rate = Rate(CONNECTS_PER_SECOND, CONNECTS_BURST)
        self._random = _random_texts()
        # The token is in the payload, not in a cookie, so a page of another origin gains nothing by connecting.
        self._origins = allowed_origins(settings)
        self.engine = Engine(
            settings.engine_limits(),
            self,
            generate_id=self._generate_id,
            revisions=(4, 3) if settings.gateway_allow_eio3 else (4,),
            deflate=settings.gateway_deflate,
            allows_origin=self._allows_origin,
            exposed_headers=sorted({header for namespace in namespaces.values() for header in namespace.headers}),
        )
        self._unjoined = UnjoinedSessions(self.engine, settings.gateway_connect_timeout)

    # -- sending ---------------------------------------------------------------------------------------------------

    def send(self, connection: Connection, packet: Packet, *, volatile: bool = False) -> None:
        """Send a packet to one connection."""
        connection.session.send(packet, volatile=volatile)

    def broadcast(self, connections: Collection[Connection], packet: Packet, *, volatile: bool = False) -> None:
        """Send the same packet to many connections."""
        self.engine.broadcast([connection.session for connection in connections], packet, volatile=volatile)

    def congested(self, connection: Connection) -> bool:
        """Return whether the client reads more slowly than it is sent to."""
        return connection.session.congested

    def ack(self, connection: Connection, ack_id: int, payload: bytes, attachments: tuple[bytes, ...] = ()) -> None:
        """Answer an emit."""
        connection.session.send(packets.single_ack_packet(connection.namespace, ack_id, payload, attachments))

    # -- letting in, sending away ----------------------------------------------------------------------------------

    def sid_for(self, client: Client, namespace: str) -> str:
        """Return a sid for a connection: a new one, or for clients of revision 3 the one they derive themselves."""
        session = client.session
        if session.revision == 4:
            return self._generate_id()
        return session.sid if namespace == "/" else f"{namespace}#{session.sid}"

    def admit(self, connection: Connection) -> None:
        """Let a client in: from now on it is in the namespace, and CONNECT is sent."""
        session, namespace = connection.session, connection.namespace
        session.client.namespaces[namespace] = connection
        session.joined = True
        self._unjoined.discard(session)
        body = {"sid": connection.sid} | ({"pid": connection.pid} if connection.pid else {})
        session.send(packets.connect_packet(namespace, body if session.revision == 4 else None))

    def refuse(self, client: Client, namespace: str, rejection: Reject) -> None:
        """Tell a client that it may not join a namespace (CONNECT_ERROR). Stock clients then do not try again."""
        body = rejection.as_dict()
        refusal = {"message": rejection.message, "data": body} if client.session.revision == 4 else body
        client.session.send(packets.connect_error_packet(namespace, refusal))

    def say_disconnect(self, connection: Connection) -> None:
        """Tell a client that its connection in the namespace is over (DISCONNECT).

        python-socketio's clients (5.x) ignore a DISCONNECT that comes while their app is still told of CONNECT, and
        believe that they are connected. So a client that neither closes its transport nor joins anything afterwards is
        closed in time.
        """
        connection.session.send(packets.disconnect_packet(connection.namespace))
        self._unjoined.add(connection.session)

    def release(self, attempt: Attempt) -> list[EventPacket]:
        """Take a finished attempt out of its client. Returns what the client emitted into the namespace meanwhile."""
        namespaces = attempt.client.namespaces
        if namespaces.get(attempt.namespace) is attempt:
            del namespaces[attempt.namespace]
        held, attempt.held = attempt.held or [], None
        self.engine.budget.give_back(attempt.client.session, attempt.held_bytes + attempt.auth_bytes)
        attempt.held_bytes = attempt.auth_bytes = 0
        return held

    def take_held(self, connection: Connection, packet: EventPacket) -> None:
        """Take an event that was held until its sender was let in."""
        self._events.event_received(connection, packet)

    async def drain(self) -> None:
        """Accept no new clients, and close the transports a few at a time.

        Then clients do not reconnect all at once.
        """
        await self.engine.drain(self._settings.gateway_drain_seconds)

    # -- what the engine reports: `SessionEvents` ------------------------------------------------------------------

    def session_opened(self, session: Session) -> None:
        """Note that a transport was opened. It must join a namespace before long."""
        client = session.client = Client(session)
        self._unjoined.add(session)
        if session.revision == 3 and "/" in self._namespaces:
            # Clients of revision 3 are in the main namespace from the start, without a CONNECT, and put their token
            # into the query.
            self._events.connect(client, "/", dict(session.origin.query))

    def session_ended(self, session: Session, reason: str) -> None:
        """Note that a transport has closed."""
        self._unjoined.discard(session)
        client: Client | None = session.client
        if client is None:
            return
        if client.unfinished is not None:
            self._finish(client)
        self._events.lost(client, reason_of(reason, DisconnectReason.INTERNAL))

    def message_received(self, session: Session, data: str | bytes) -> None:
        """Take a packet of a client, or an attachment of one."""
        client: Client = session.client
        # Socket.IO v5 protocol, "Packet encoding": the attachments follow their packet, with nothing in between.
        if client.unfinished is not None:
            self._attach(client, client.unfinished, data)
            return
        # One regular expression for nearly all packets, since this runs for every event that any client emits.
        if isinstance(data, str) and (usual := packets.USUAL_EVENT.match(data)) and self._received_usual(client, usual):
            return
        try:
            if not isinstance(data, str):
                raise MalformedPacket("binary data that belongs to no packet")  # noqa: TRY301 - one way out
            head = packets.read_head(data)
        except MalformedPacket:
            session.close(DisconnectReason.PARSE_ERROR)
            return
        if head.kind == packets.CONNECT:
            self._connect(client, head, data)
        elif head.kind != packets.DISCONNECT:
            self._receive(client, head, data)
        elif not self._spend(client, len(data)):
            session.close(DisconnectReason.RATE_LIMITED)
        elif head.namespace in client.namespaces:
            self._events.left(client, head.namespace, DisconnectReason.CLIENT_LEFT)
            self._unjoined.add(session)

    # -- events and acks -------------------------------------------------------------------------------------------

    def _receive(self, client: Client, head: Head, text: str) -> None:
        session, size = client.session, len(text) - head.start
        if head.attachments > self._settings.gateway_max_attachments:
            session.close(DisconnectReason.ATTACHMENTS)
            return
        # Before its payload is looked at: what a client may not send must not cost more than its head.
        within_rates = self._spend(client, len(text))
        if head.namespace not in client.namespaces:
            # It was sent before the client had joined, or after it had left, and Socket.IO ignores such packets.
            if within_rates or self._excess(client, size):
                self._drop_attachments(client, head.attachments)
            return
        limit = self._namespaces[head.namespace].max_payload
        if not within_rates:
            if self._excess(client, size):
                self._refuse(client, head, Reject(Code.RATE_LIMITED))
            return
        if size > limit + NAME_ROOM:
            refusal = Reject(Code.PAYLOAD_TOO_LARGE, f"An event's payload is at most {limit} bytes.")
            self._refuse(client, head, refusal)
            return
        if head.problem:
            self._refuse(client, head, Reject(Code.INVALID_PAYLOAD, head.problem))
            return
        try:
            if head.kind in packets.EVENTS:
                event, args = packets.read_event(text, head.start)
                packet = EventPacket(head.namespace, head.ack_id, event, args)
            else:
                packet = AckPacket(head.namespace, head.ack_id or 0, packets.read_ack(text, head.start))
        except InvalidPayload as error:
            self._refuse(client, head, _invalid(error))
            return
        if not head.attachments:
            self._received(client, packet)
        elif self._hold_bytes(session, size):
            client.unfinished = UnfinishedPacket(packet, head.attachments, size)

    def _received_usual(self, client: Client, usual: re.Match[str]) -> bool:
        """Take an event that `USUAL_EVENT` matched.

        Returns False, and does nothing, if there is anything unusual about it.
        """
        found = client.namespaces.get(usual[1] or "/")
        if not isinstance(found, Connection):
            return False
        size = len(usual.string) - usual.start(3)
        if size > self._namespaces[found.namespace].max_payload + NAME_ROOM or not self._spend(client, size):
            return False
        try:
            packet = packets.read_usual_event(usual)
        except InvalidPayload as error:
            self._tell(client.session, found.namespace, int(usual[2]) if usual[2] else None, _invalid(error))
        else:
            self._events.event_received(found, packet)
        return True

    def _received(self, client: Client, packet: EventPacket | AckPacket) -> None:
        found = client.namespaces.get(packet.namespace)
        if isinstance(found, Connection):
            if isinstance(packet, EventPacket):
                self._events.event_received(found, packet)
            else:
                self._events.ack_received(found, packet)
        elif found is not None and isinstance(packet, EventPacket):
            self._hold(found, packet)

    def _hold(self, attempt: Attempt, packet: EventPacket) -> None:
        size, session = packet.size, attempt.client.session
        if not attempt.may_hold(size):
            refusal = Reject(Code.OVERLOADED, "Too many events wait for the namespace to be joined.")
            self._tell(session, packet.namespace, packet.ack_id, refusal)
        elif self._hold_bytes(session, size):
            attempt.hold(packet, size)

    def _refuse(self, client: Client, head: Head, rejection: Reject) -> None:
        self._tell(client.session, head.namespace, head.ack_id if head.kind in packets.EVENTS else None, rejection)
        self._drop_attachments(client, head.attachments)

    def _tell(self, session: Session, namespace: str, ack_id: int | None, rejection: Reject) -> None:
        body = rejection.as_dict()
        if ack_id is None:
            session.send(packets.event_packet(namespace, "error", msgspec.json.encode([body])))
        else:
            session.send(packets.ack_packet(namespace, ack_id, b"[" + error_payload(body) + b"]"))

    # -- attachments -----------------------------------------------------------------------------------------------

    def _drop_attachments(self, client: Client, count: int) -> None:
        """Expect the attachments of a refused packet, which are on their way already, and drop them."""
        if count:
            client.unfinished = UnfinishedPacket(None, count, 0)

    def _attach(self, client: Client, unfinished: UnfinishedPacket, data: str | bytes) -> None:
        session = client.session
        if isinstance(data, str):
            session.close(DisconnectReason.PARSE_ERROR)
            return
        packet, size = unfinished.packet, len(data)
        if not self._spend(client, size, events=0):
            if not self._excess(client, size):
                return
            if packet is not None:
                ack_id = packet.ack_id if isinstance(packet, EventPacket) else None
                self._tell(session, packet.namespace, ack_id, Reject(Code.RATE_LIMITED))
                # Refused, but its attachments still have to be taken off the transport before the next packet begins.
                unfinished.packet = packet = None
        unfinished.missing -= 1
        if packet is not None:
            if not self._hold_bytes(session, size):
                return
            unfinished.attachments.append(data)
            unfinished.held += size
            if unfinished.held > self._settings.gateway_max_message:
                session.close(DisconnectReason.ATTACHMENTS)
                return
        if not unfinished.missing:
            attachments = tuple(unfinished.attachments)
            self._finish(client)
            if packet is not None:
                self._received(client, msgspec.structs.replace(packet, attachments=attachments))

    def _hold_bytes(self, session: Session, size: int) -> bool:
        """Count what a client makes the gateway keep. Returns False if that is too much, which closes the transport."""
        if self.engine.budget.take(session, size):
            return True
        LIMIT_HITS.labels("input_memory").inc()
        session.fail(DisconnectReason.OVERLOADED)
        return False

    def _finish(self, client: Client) -> None:
        unfinished, client.unfinished = client.unfinished, None
        if unfinished is not None:
            self.engine.budget.give_back(client.session, unfinished.held)

    # -- rates -----------------------------------------------------------------------------------------------------

    def _spend(self, client: Client, size: int, events: int = 1) -> bool:
        """Return whether a client may send this now. What it may not send costs nothing."""
        now = self.engine.clock()
        full_at = self._event_rate.spend(client.full_at, now, events)
        bytes_full_at = self._byte_rate.spend(client.bytes_full_at, now, size)
        if not full_at or not bytes_full_at:
            return False
        client.full_at, client.bytes_full_at = full_at, bytes_full_at
        return True

    def _excess(self, client: Client, size: int) -> bool:
        """Count what was sent too fast. Returns False if it adds up to a burst, which closes the transport."""
        LIMIT_HITS.labels("events_per_second").inc()
        now, burst = self.engine.clock(), self._settings.gateway_events_burst
        if now - client.excess_since > EXCESS_SECONDS:
            client.excess, client.excess_since = 0.0, now
        # In events: bytes are converted by the ratio of the two bursts, so that one number bounds both.
        client.excess += max(1.0, size * burst / self._settings.gateway_bytes_burst)
        if client.excess <= burst:
            return True
        client.session.close(DisconnectReason.RATE_LIMITED)
        return False

    # -- joining ---------------------------------------------------------------------------------------------------

    def _connect(self, client: Client, head: Head, text: str) -> None:
        session, namespace = client.session, head.namespace
        full_at = self._connect_rate.spend(client.connects_full_at, self.engine.clock())
        if not full_at or not self._spend(client, len(text), events=0):
            LIMIT_HITS.labels("connects_per_second").inc()
            session.close(DisconnectReason.RATE_LIMITED)
            return
        client.connects_full_at = full_at
        self.engine.input.spent(CONNECT_FRAMES, 0)
        if namespace not in self._namespaces:
            session.send(packets.connect_error_packet(namespace, INVALID_NAMESPACE))
            return
        if namespace in client.namespaces:
            # The client knows of one connection only, the one that it asks for now. Socket.IO's server refuses nobody
            # for this.
            self._events.left(client, namespace, DisconnectReason.REPLACED)
        try:
            if len(text) - head.start > MAX_CONNECT:
                raise Reject(Code.PAYLOAD_TOO_LARGE, f"What is said at CONNECT is at most {MAX_CONNECT} characters.")  # noqa: TRY301
            auth = packets.read_connect(text, head.start)
            if session.revision == 3:
                auth = {**session.origin.query, **read_query(head.query)}
        except InvalidPayload as error:
            code = Code.PAYLOAD_TOO_LARGE if isinstance(error, packets.TooMuchSaid) else Code.INVALID_PAYLOAD
            self.refuse(client, namespace, Reject(code, str(error)))
            return
        except Reject as rejection:
            self.refuse(client, namespace, rejection)
            return
        except ValueError:
            refusal = Reject(Code.INVALID_PAYLOAD, f"A query has at most {MAX_FIELDS} fields.")
            self.refuse(client, namespace, refusal)
            return
        # Socket.IO v5 protocol, "Connection to a namespace": it is answered with CONNECT or CONNECT_ERROR, by an
        # attempt.
        self._events.connect(client, namespace, auth)
        attempt = client.namespaces.get(namespace)
        # The payload is kept until the client is let in, however long auth and the service take.
        if isinstance(attempt, Attempt) and len(text) > UNCOUNTED_BYTES and self._hold_bytes(session, len(text)):
            attempt.auth_bytes = len(text)

    def _generate_id(self) -> str:
        # Proxies route by the first part of the sid, so that every request of a session reaches its gateway.
        return f"{self._instance}.{next(self._random)}"

    def _allows_origin(self, request: TransportRequest) -> bool:
        return "*" in self._origins or request.origin == request.own_origin or request.origin in self._origins


def _invalid(error: InvalidPayload) -> Reject:
    return Reject(Code.INVALID_PAYLOAD, str(error))


def _random_texts() -> Iterator[str]:
    """Yield texts of twenty random characters. Asking the system for each of them would cost more than the rest."""
    while True:
        pool = urlsafe_b64encode(os.urandom(15 * 256)).decode()
        yield from (pool[start : start + 20] for start in range(0, len(pool), 20))
