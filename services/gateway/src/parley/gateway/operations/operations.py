"""What other processes do to this gateway's connections over NATS.

They emit, ask for acks, fetch, join, leave, disconnect, kick and list. Every gateway receives all emits on one subject,
also those to a single room. A room's own subject would spare gateways without a member. But a connection that was put
into a room a moment ago would miss what is published before NATS knows the gateway's subscription, and the order of
emits to one room and to several would depend on NATS keeping it across subjects. What is said in a room all day belongs
on the room's subject, as events do.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterable, Mapping
from functools import partial
from itertools import islice

from parley.common.errors import Code, Reject, known_code
from parley.common.http.address_ranges import AddressRanges
from parley.common.nats.bus import Bus
from parley.common.process.logs import get_logger
from parley.common.process.tasks import Tasks
from parley.common.wire import subjects
from parley.common.wire.codec import Wire
from parley.common.wire.connections import ConnectionInfo
from parley.common.wire.operations import (
    AnyOperation,
    AskPresent,
    Disconnect,
    Emit,
    FetchConnections,
    FetchedConnections,
    JoinRooms,
    Kick,
    LeaveRooms,
    ListConnections,
    Look,
    OperationReport,
    Recheck,
    RenewAddressBans,
    Selection,
    SetPresence,
    StopLooking,
    decode_operation,
)
from parley.common.wire.rooms import UnloggedEvent
from parley.gateway.connections.connection import Connection
from parley.gateway.connections.connection_registry import ConnectionRegistry
from parley.gateway.operations.client_acks import ClientAcks
from parley.gateway.presence.room_presence import RoomPresence
from parley.gateway.recovery.packet_history import PacketHistory, with_offset
from parley.gateway.rooms.delivery import DELIVERIES
from parley.gateway.rooms.fanout import Fanout
from parley.gateway.socketio.packets import event_packet
from parley.gateway.socketio.server import SocketIoServer

log = get_logger(__name__)

SLICE = 256
"""Connections that are operated on before the loop gets its turn."""
MAX_AT_ONCE = 1024
"""Operations under way, besides emits and kicks. Further ones are dropped, and time out for the asker."""
MAX_AD_HOC = 1000
"""Rooms that one connection may be put into ad hoc."""
MAX_PAGE_BYTES = 512 * 1024

Disconnected = Callable[[Connection, bool], None]
"""Ends a connection that a service disconnects: only in its namespace, or, if true, with its transport."""
EndUser = Callable[[str, Code, str, Collection[str], float], int]
"""Ends every connection of a user, or of some sessions, with a code and a reason, if they have an age in seconds.

It returns how many they were.
"""
EndAddresses = Callable[[AddressRanges, Code, str, float], int]
"""The same for all connections from ranges of addresses."""


AskAgain = Callable[[Collection[str]], Awaitable[int]]
"""Asks auth about some users, and returns how many connections they have."""


class Operations:
    """Does what it hears on `sockets.<ns>`, on `gateways` and under its own address and name.

    The broker says who may publish on which of them. So what is heard on a namespace's subject concerns connections of
    that namespace alone, and is answered on an inbox that was made for a gateway's answers.
    """

    def __init__(
        self,
        bus: Bus,
        namespaces: Iterable[str],
        server: SocketIoServer,
        connections: ConnectionRegistry,
        fanout: Fanout,
        acks: ClientAcks,
        histories: Mapping[str, PacketHistory],
        disconnect: Disconnected,
        end_user: EndUser,
        end_addresses: EndAddresses,
        recheck: AskAgain,
        renew_address_bans: Callable[[], Awaitable[int]],
        presence: RoomPresence,
    ) -> None:
        self._bus = bus
        self._namespaces = tuple(namespaces)
        self._server = server
        self._connections = connections
        self._fanout = fanout
        self._acks = acks
        self._histories = histories
        self._disconnect = disconnect
        self._end_user = end_user
        self._end_addresses = end_addresses
        self._recheck = recheck
        self._renew_address_bans = renew_address_bans
        self._presence = presence
        self._tasks = Tasks()

    def start(self) -> None:
        """Begin to listen."""
        # Heard where messages arrive: between an emit and an event that follows it there is no queue.
        self._bus.listen(subjects.GATEWAYS, partial(self._hear, ""))
        for namespace in ("", *self._namespaces):
            hear = partial(self._hear, namespace)
            self._bus.listen(subjects.gateway(self._bus.run_address, namespace), hear)
            self._bus.listen(subjects.gateway(self._bus.instance, namespace), hear)
            if namespace:
                self._bus.listen(subjects.sockets(namespace), hear)

    async def close(self) -> None:
        """Cancel what still runs."""
        await self._tasks.close()

    def _hear(self, namespace: str, data: bytes) -> None:
        operation = decode_operation(data)
        if (wrong := _misdirected(operation, namespace)) is not None:
            log.warning("an operation that is not done", operation=type(operation).__name__, why=wrong)
            return
        if isinstance(operation, Emit):
            self._emit(operation)
        elif isinstance(operation, Kick):
            self._kick(operation)
        elif isinstance(operation, Look):
            self._look(operation)
        elif isinstance(operation, Recheck | RenewAddressBans):
            # As a kick, none of these is dropped because there are many.
            self._tasks.spawn(self._ask_again(operation), name="operation")
        elif len(self._tasks) >= MAX_AT_ONCE:
            log.error("too many operations at once", operation=type(operation).__name__)
        else:
            self._tasks.spawn(self._operate(operation), name="operation")

    # -- which connections -----------------------------------------------------------------------------------------

    def _select(self, selection: Selection) -> list[Connection]:
        namespace = selection.namespace
        if selection.sid:
            itself = self._connections.get(selection.sid)
            found = {itself} if itself is not None and itself.namespace == namespace else set[Connection]()
        elif selection.rooms:
            # A set: a connection that is in several of the rooms receives the event once.
            found = {connection for room in selection.rooms for connection in self._in_room(namespace, room)}
        else:
            found = set(self._connections.in_namespace(namespace))
        for room in selection.except_rooms:
            found.difference_update(self._in_room(namespace, room))
        return [connection for connection in found if connection.is_open]

    def _in_room(self, namespace: str, room: str) -> Collection[Connection]:
        members = self._fanout.members(namespace, room)
        itself = self._connections.get(room)
        return [*members, itself] if itself is not None and itself.namespace == namespace else members

    # -- emits -----------------------------------------------------------------------------------------------------

    def _emit(self, emit: Emit) -> None:
        receivers, args, ack_id = self._select(emit.selection), emit.args, None
        if emit.inbox:
            # Not remembered: by the time a recovered client got it, nobody would wait for its ack.
            ack_id, receivers = self._acks.ask(receivers, emit.inbox, emit.timeout)
        elif not emit.volatile:
            args = self._remembered(emit)
        if receivers:
            packet = event_packet(emit.selection.namespace, emit.event, args, emit.attachments, ack_id)
            self._server.broadcast(receivers, packet, volatile=emit.volatile)
            DELIVERIES.counts[()] += len(receivers)

    def _remembered(self, emit: Emit) -> bytes:
        """Return the arguments, with their offset if lost connections may come back for what they missed."""
        selection = emit.selection
        history = self._histories.get(selection.namespace)
        if history is None or not self._anybody_hears(selection):
            return emit.args
        missed = UnloggedEvent(emit.event, emit.args, emit.attachments)
        offset = history.add(
            selection.rooms or None, sid=selection.sid, except_rooms=selection.except_rooms, missed=missed
        )
        return with_offset(emit.args, offset)

    def _anybody_hears(self, selection: Selection) -> bool:
        """Return whether anybody is selected here, or may come back for what they miss now."""
        namespace, names = selection.namespace, selection.rooms
        if selection.sid:
            names = (selection.sid,)
        elif not names:
            return True
        return any(self._fanout.is_awaited(namespace, name) or self._in_room(namespace, name) for name in names)

    # -- operators -------------------------------------------------------------------------------------------------

    def _kick(self, kick: Kick) -> None:
        """End connections right as the message arrives.

        No kick waits, or is dropped because there are many.
        """
        selection, code = kick.selection, known_code(kick.code, Code.KICKED)
        ended = 0
        for user_id in (selection.user_id, *selection.users) if selection.user_id else selection.users:
            ended += self._end_user(user_id, code, kick.reason, selection.logins, kick.min_age)
        if selection.ranges:
            ranges = AddressRanges((each, math.inf) for each in selection.ranges)
            ended += self._end_addresses(ranges, code, kick.reason, kick.min_age)
        # The connections have ended by now. Only the answer may have to wait for NATS.
        self._tasks.spawn(self._answer(kick.inbox, OperationReport(self._bus.run_address, ended)), name="operation")

    async def _ask_again(self, news: Recheck | RenewAddressBans) -> None:
        """Answer when it is done: who gets no answer knows that this gateway may not know yet."""
        try:
            if isinstance(news, Recheck):
                found = await self._recheck(news.selection.users)
            else:
                found = await self._renew_address_bans()
        except Reject as rejection:
            log.warning("what auth has changed is not known yet", code=str(rejection.code))
            return
        await self._answer(news.inbox, OperationReport(self._bus.run_address, found))

    async def _list(self, wanted: ListConnections) -> None:
        user_id = wanted.selection.user_id
        found = self._connections.of_user(user_id) if user_id else self._connections
        await self._tell(
            wanted.inbox, list(islice((each for each in found if each.is_open), wanted.limit)), with_rooms=False
        )

    def _look(self, look: Look) -> None:
        """Begin to show one connection who is in a room. Many begin at once when they come back; none of it waits."""
        found = self._select(look.selection)
        self._presence.look(found[0] if len(found) == 1 else None, look.room, look.inbox)

    # -- the rest --------------------------------------------------------------------------------------------------

    async def _operate(
        self,
        operation: FetchConnections
        | JoinRooms
        | LeaveRooms
        | Disconnect
        | ListConnections
        | StopLooking
        | SetPresence
        | AskPresent,
    ) -> None:
        if isinstance(operation, ListConnections):
            await self._list(operation)
            return
        if isinstance(operation, AskPresent):
            for report in await self._presence.present(operation.selection.namespace, operation.rooms):
                await self._answer(operation.inbox, report)
            return
        connections = self._select(operation.selection)
        if isinstance(operation, FetchConnections):
            await self._tell(operation.inbox, connections, with_rooms=True)
            return
        async for connection in _in_slices(connections):
            # It may have ended while others had their turn.
            if not connection.is_open:
                continue
            match operation:
                case JoinRooms(rooms=rooms):
                    self._join(connection, rooms)
                case LeaveRooms(rooms=rooms):
                    self._leave(connection, rooms)
                case Disconnect(close=close):
                    self._disconnect(connection, close)
                case StopLooking(room=room):
                    self._presence.stop_looking(connection, room)
                case SetPresence():
                    self._presence.set((connection,), operation)
        await self._answer(operation.inbox, OperationReport(self._bus.run_address, len(connections)))

    def _join(self, connection: Connection, rooms: Iterable[str]) -> None:
        for room in rooms:
            if room in connection.rooms or room == connection.sid:
                continue
            subjects.check_ad_hoc(connection.namespace, room)
            if len(connection.joined_ad_hoc or ()) >= MAX_AD_HOC:
                log.warning("in too many rooms", sid=connection.sid, room=room)
                return
            connection.enter_ad_hoc(room)
            self._fanout.enter(connection, room)

    def _leave(self, connection: Connection, rooms: Iterable[str]) -> None:
        for room in rooms:
            # A connection outside of its user's own room would miss joins and leaves.
            if room != subjects.user_room(connection.identity.user_id):
                connection.forget_ad_hoc(room)
                self._fanout.leave(connection, room)

    async def _tell(self, inbox: str, connections: list[Connection], *, with_rooms: bool) -> None:
        """Send the connections in as many pages as they need, at least one."""
        page: list[ConnectionInfo] = []
        size, matched = 0, len(connections)
        async for connection in _in_slices(connections):
            rooms = [connection.sid, *sorted(connection.rooms)] if with_rooms else ()
            info = connection.described(self._bus.instance, rooms)
            weight = len(info.encode())
            # A page has at least one connection, however many rooms that one is in.
            if page and size + weight > MAX_PAGE_BYTES:
                await self._answer(inbox, FetchedConnections(self._bus.run_address, matched, page))
                page, size, matched = [], 0, 0
            page.append(info)
            size += weight
        await self._answer(inbox, FetchedConnections(self._bus.run_address, matched, page))

    async def _answer(self, inbox: str, answer: Wire) -> None:
        if not inbox:
            return
        try:
            await self._bus.publish(inbox, answer.encode())
        except Reject as rejection:
            log.warning("operation not answered", code=str(rejection.code))


async def _in_slices(connections: Collection[Connection]) -> AsyncGenerator[Connection]:
    """Yield the connections, and let the loop have its turn now and then. Some may be gone when theirs comes."""
    for number, connection in enumerate(connections, start=1):
        yield connection
        if number % SLICE == 0:
            await asyncio.sleep(0)


def _misdirected(operation: AnyOperation, namespace: str) -> str | None:
    """Why what was heard on this namespace's subject may not be done; the empty one is for what concerns all of them.

    Kicks and lists look at no namespace, and reports about a kick have a subject of their own.
    """
    of_all = isinstance(operation, Kick | ListConnections | Recheck | RenewAddressBans)
    if operation.selection.namespace != namespace or (namespace and of_all):
        return f"it was published for the connections of {namespace or 'every namespace'}"
    about_kick = isinstance(operation, Kick) and subjects.is_kicked(operation.inbox)
    if operation.inbox and not about_kick and not subjects.is_inbox(operation.inbox, subjects.GATEWAY_ANSWERS):
        return "its inbox is not for the answers of gateways"
    return None
