"""Presence on one gateway: put together, and spoken of with the other gateways.

`Operations` hands over what services ask for, `Lifecycle` connections that come and go. When somebody here begins to
look at a room:

1. this gateway says so to all gateways, and itself looks at what it has;
2. each answers with the users that it has in the room, and goes on with what changes, gathered for `TICK` seconds;
3. who looks is answered once all living gateways have said whom they have, and is told what changes from then on.

What a gateway has said counts for a lease, which everything that it says renews (`peer_gateways`). So nothing has to be
undone when a gateway, NATS or a service dies. All of it runs on the gateway's loop, and nothing here waits.

Services may also ask all gateways once who is in rooms, and look no further (`present`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from parley.common.errors import Reject
from parley.common.nats.bus import Bus
from parley.common.nats.chunks import split_by_size
from parley.common.process.logs import get_logger
from parley.common.process.tasks import Tasks
from parley.common.wire import subjects
from parley.common.wire.codec import Wire
from parley.common.wire.operations import LookResult, PresentReport, SetPresence
from parley.common.wire.presence import (
    GetLookedRooms,
    LookedRooms,
    PresencePart,
    PresenceParts,
    PresentUser,
    decode_presence,
)
from parley.framework.remote.gateway_registry import GatewayRegistry
from parley.gateway.connections.connection import Connection
from parley.gateway.connections.connection_registry import ConnectionRegistry
from parley.gateway.presence.peer_gateways import PeerGateway, PeerGateways, RoomKey
from parley.gateway.presence.room_reports import OVERHEAD, RoomReports, pieces, weight
from parley.gateway.presence.shown_rooms import PAUSE, TICK, ShownRooms
from parley.gateway.presence.user_states import choice_in
from parley.gateway.rooms.delivery import Outlet
from parley.gateway.rooms.fanout import Fanout

log = get_logger(__name__)

LINGER = 0.4
"""For how much of a lease a user who has gone is shown, unless the user is back before."""
ANSWER_SECONDS = 1.0
"""Seconds in which the other gateways have to say whom they have, before who looks is answered without them."""
COMPARE_EVERY = 30.0
"""Seconds between two comparisons of what was told with who is there."""
SLICE = 0.01
"""Seconds after which other work has its turn when there is very much to be told."""
STALL = 1.0
"""Seconds by which a renewal may be late before it counts as a stall."""
MAX_BYTES = 384 * 1024
"""A message is cut here."""
AT_ONCE = 256
"""Users that are looked up for a question before other work has its turn."""


class RoomPresence:
    """Presence on one gateway."""

    def __init__(
        self,
        bus: Bus,
        connections: ConnectionRegistry,
        fanout: Fanout,
        outlet: Outlet,
        registry: GatewayRegistry,
        lease: float,
    ) -> None:
        """`lease` is in seconds: for so long counts what was heard of a gateway that says nothing more."""
        self._bus = bus
        self._me = bus.run_address
        self._connections = connections
        self._registry = registry
        self._lease = lease
        self._peers = PeerGateways(lease)
        self._reports = RoomReports(connections, fanout, lambda: self._soon(TICK))
        self._shown = ShownRooms(bus.run_address, outlet, self._send, lease * LINGER)
        self._sequence = 0
        """How often the other gateways were told of a change of what is looked at here."""
        self._begun: dict[RoomKey, None] = {}
        """The rooms that they have still to be told of."""
        self._timer: asyncio.TimerHandle | None = None
        self._turn: asyncio.Handle | None = None
        self._compared = time.monotonic()
        self._tasks = Tasks()

    def start(self) -> None:
        """Listen to the other gateways, and ask what they look at."""
        self._bus.listen(subjects.PRESENCE, self._hear)
        self._bus.listen(subjects.gateway_presence(self._me), self._hear)
        self._bus.on_reconnect(self.start_over)
        self._tasks.forever(self._run(), name="presence")
        self._send(subjects.PRESENCE, GetLookedRooms(self._me))

    async def close(self) -> None:
        """Stop. What was said of the last connections counts until the lease is over."""
        await self._tasks.close()
        for handle in (self._timer, self._turn):
            if handle is not None:
                handle.cancel()

    def start_over(self) -> None:
        """Ask for everything, and say everything, because both may have been missed: after a stall or a reconnect."""
        self._send(subjects.PRESENCE, GetLookedRooms(self._me))
        self._say_looks(subjects.PRESENCE)

    # -- what services ask for, and connections that come and go ---------------------------------------------------

    def look(self, connection: Connection | None, room: str, inbox: str) -> None:
        """Begin to show a connection who is in a room that it is in, and answer with who is there now."""
        if connection is None:
            self._send(inbox, LookResult(self._me, 0))
            return
        key, now = (connection.namespace, room), time.monotonic()
        if (code := self._shown.refusal(connection, key, now)) is not None:
            self._send(inbox, LookResult(self._me, 1, code=str(code)))
        elif self._shown.look(connection, key, inbox, self._living(), now):
            self._begun[key] = None
            self._report(key, self._me)
            asyncio.get_running_loop().call_later(ANSWER_SECONDS, self._give_up, key)

    def _living(self) -> set[str]:
        """Return the gateways that have to say whom they have; an empty name stands for those not heard of yet."""
        return {*self._registry.alive(), *(() if self._registry.warmed_up else ("",))}

    def stop_looking(self, connection: Connection, room: str) -> None:
        """Show a connection no more of a room."""
        self._shown.lookers.remove(connection, (connection.namespace, room))

    async def present(self, namespace: str, rooms: Iterable[str]) -> list[PresentReport]:
        """Return who is in rooms here, as messages that fit, at least one."""
        parts: list[PresencePart] = []
        for room in rooms:
            found: list[PresentUser] = []
            for entry in self._reports.present((namespace, room)):
                found.append(entry)
                if len(found) % AT_ONCE == 0:
                    await asyncio.sleep(0)
            parts += pieces((namespace, room), found, whole=True)
            await asyncio.sleep(0)
        matched = sum(len(part.users) for part in parts)
        chunks = list(split_by_size(parts, MAX_BYTES, weight)) or [[]]
        return [PresentReport(self._me, 0 if number else matched, chunk) for number, chunk in enumerate(chunks)]

    def set(self, connections: Collection[Connection], wanted: SetPresence) -> None:
        """Set what the users of these connections chose, or whether the connections are idle."""
        for connection in connections:
            if wanted.idle is not None:
                connection.idle = wanted.idle
            if wanted.choice:
                user_id = connection.identity.user_id
                self._reports.choices.set(connection.namespace, user_id, wanted.choice, wanted.since)
            self._reports.changed(connection)

    def opened(self, connection: Connection, auth: Mapping[str, Any]) -> None:
        """Take over what a client chose at CONNECT. It comes before its rooms, so it is never shown otherwise."""
        if (choice := choice_in(auth)) and not connection.identity.looks_on:
            user_id, namespace = connection.identity.user_id, connection.namespace
            self._reports.choices.set(namespace, user_id, choice, round(time.time() * 1000))
            for other in self._connections.of_user(user_id, namespace):
                self._reports.changed(other)

    def ended(self, connection: Connection) -> None:
        """Forget a connection that has ended, and with a user's last one what the user chose."""
        self._shown.lookers.leave(connection)
        user_id = connection.identity.user_id
        others = self._connections.of_user(user_id, connection.namespace)
        # One that is about to be let in says itself what its user chose.
        if not any(other.is_open for other in others):
            self._reports.choices.forget(connection.namespace, user_id)

    # -- what the other gateways say -------------------------------------------------------------------------------

    def _hear(self, data: bytes) -> None:
        said, now = decode_presence(data), time.monotonic()
        # What is said to all gateways comes back here, where it was taken over when it was said.
        if said.gateway == self._me:
            return
        peer = self._peers.hear(said.gateway, now)
        match said:
            case LookedRooms():
                self._hear_looks(peer, said, now)
            case PresenceParts():
                self._hear_parts(peer, said, now)
            case GetLookedRooms(gateway=gateway):
                self._say_looks(subjects.gateway_presence(gateway))

    def _hear_looks(self, peer: PeerGateway, said: LookedRooms, now: float) -> None:
        begun, ended, complete = self._peers.looks(peer, said)
        for key in ended:
            self._reports.end(key, said.gateway)
        for key in begun:
            self._report(key, said.gateway)
        if not complete and self._peers.may_ask(peer, now):
            self._send(subjects.gateway_presence(said.gateway), GetLookedRooms(self._me))

    def _hear_parts(self, peer: PeerGateway, said: PresenceParts, now: float) -> None:
        if not self._peers.parts(peer, said):
            # A number is missing. Any room may be wrong until this gateway has said it as a whole again.
            peer.unsure = set(self._shown.looked_at)
        for part in said.parts:
            if part.whole:
                peer.unsure.discard((part.namespace, part.room))
        self._take(said.gateway, said.parts, now)
        peer.unsure.intersection_update(self._shown.looked_at)
        if peer.unsure and self._peers.may_ask(peer, now):
            self._say_looks(subjects.gateway_presence(said.gateway))

    def _take(self, gateway: str, parts: Collection[PresencePart], now: float) -> None:
        if parts:
            self._shown.take(gateway, parts, now)
            self._soon(TICK)

    # -- what they are told ----------------------------------------------------------------------------------------

    def _report(self, key: RoomKey, gateway: str) -> None:
        """Begin to tell a gateway who is in a room here, when this turn of the loop has gathered who is new to what."""
        self._reports.begin(key, gateway)
        if self._turn is None:
            self._turn = asyncio.get_running_loop().call_soon(self._end_turn)

    def _end_turn(self) -> None:
        self._turn = None
        begun, self._begun = list(self._begun), {}
        for chunk in split_by_size(begun, MAX_BYTES, _key_weight):
            self._sequence += 1
            self._send(subjects.PRESENCE, LookedRooms(self._me, self._sequence, chunk, total=len(self._shown)))
        now = time.monotonic()
        self._tell(self._reports.take(new=True, until=now + SLICE), now)
        if self._reports.any_new:
            self._turn = asyncio.get_running_loop().call_later(PAUSE, self._end_turn)

    def _tell(self, told: Mapping[str, list[PresencePart]], now: float) -> None:
        for gateway, parts in told.items():
            if gateway == self._me:
                self._take(self._me, parts, now)
            elif (peer := self._peers.known.get(gateway)) is not None:
                for chunk in split_by_size(parts, MAX_BYTES, weight):
                    # Counted whether it can be sent or not: a gap shows that something was not.
                    peer.sent += 1
                    self._send(subjects.gateway_presence(gateway), PresenceParts(self._me, peer.sent, chunk))

    def _say_looks(self, subject: str) -> None:
        """Say which rooms are looked at here, all of them."""
        chunks: Iterable[list[RoomKey]] = split_by_size(self._shown.looked_at, MAX_BYTES, _key_weight)
        for number, chunk in enumerate(chunks if self._shown.looked_at else ([],)):
            whole = not number
            self._send(subject, LookedRooms(self._me, self._sequence, chunk, whole=whole, total=len(self._shown)))

    def _give_up(self, key: RoomKey) -> None:
        """Answer without the gateways that have said nothing; they are asked once more when they say anything."""
        for gateway in self._shown.give_up(key, time.monotonic()):
            if (peer := self._peers.known.get(gateway)) is not None:
                peer.unsure.add(key)

    # -- when ------------------------------------------------------------------------------------------------------

    def _soon(self, seconds: float) -> None:
        """Tell everybody what there is to be told, in at most this time."""
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            if self._timer.when() <= loop.time() + seconds:
                return
            self._timer.cancel()
        self._timer = loop.call_later(seconds, self._tick)

    def _tick(self) -> None:
        self._timer, now = None, time.monotonic()
        self._tell(self._reports.take(new=False, until=now + SLICE), now)
        if (seconds := self._shown.tell(now, until=now + 2 * SLICE)) is not None:
            self._soon(seconds)
        if self._reports.any_changed:
            self._soon(PAUSE)

    async def _run(self) -> None:
        """Renew the leases of what is said here, and find which are over, for ever."""
        # Two renewals in a row may be lost before others take this gateway for dead.
        interval = self._lease / 3
        while True:
            before = time.monotonic()
            await asyncio.sleep(interval)
            now = time.monotonic()
            if (late := now - before - interval) > STALL:
                # This process stood still and heard nobody. Leases last that much longer, or all would be over at once.
                self._peers.spare(late)
            self._lapse(now)
            self._end_unused(now)
            self._renew()
            if now - self._compared >= COMPARE_EVERY:
                self._compared = now
                self._reports.compare()
            self._shown.lookers.rates.sweep(now)

    def _renew(self) -> None:
        # Nobody would hear it. Once NATS is back everything is said anew (`start_over`).
        if not self._bus.connected:
            return
        if self._shown.looked_at:
            # Without those that are told of at the end of this turn.
            total = len(self._shown) - len(self._begun)
            self._send(subjects.PRESENCE, LookedRooms(self._me, self._sequence, total=total))
        for gateway, peer in self._peers.known.items():
            if peer.looks:
                self._send(subjects.gateway_presence(gateway), PresenceParts(self._me, peer.sent))

    def _lapse(self, now: float) -> None:
        for gateway, looks in self._peers.lapse(now):
            for key in looks:
                self._reports.end(key, gateway)
            self._shown.drop(gateway)
            self._soon(TICK)

    def _end_unused(self, now: float) -> None:
        ended = self._shown.end_unused(now)
        for key in ended:
            self._reports.end(key, self._me)
        for chunk in split_by_size(ended, MAX_BYTES, _key_weight):
            self._sequence += 1
            self._send(subjects.PRESENCE, LookedRooms(self._me, self._sequence, ended=chunk, total=len(self._shown)))

    def _send(self, subject: str, what: Wire) -> None:
        try:
            self._bus.send(subject, what.encode())
        except Reject as rejection:
            # The numbers of what is said next show that something is missing.
            log.warning("presence not sent", code=str(rejection.code))


def _key_weight(key: RoomKey) -> int:
    return len(key[0]) + len(key[1]) + OVERHEAD
