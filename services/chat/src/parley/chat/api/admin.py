"""What chat answers auth over NATS: for administrators, and for those who delete or export what is theirs."""

from __future__ import annotations

from parley.chat.consumers.runner import answer_registration
from parley.chat.domain.erasure import Erasure
from parley.chat.domain.rooms import CloseRoom
from parley.chat.log.database import reachable
from parley.chat.log.erasure import erasures
from parley.chat.queries import rooms, user_events
from parley.chat.state import ChatState
from parley.common.errors import Code, Reject
from parley.common.wire import subjects
from parley.common.wire.admin import (
    ArchiveRoomRequest,
    EraseUser,
    ErasureInfo,
    GetErasure,
    ListRooms,
    ReadUserEvents,
    RoomList,
    UserEvents,
)
from parley.common.wire.consumers import RegisterConsumer


async def start(state: ChatState) -> None:
    """Begin to answer. Each request is answered by one chat of all that run."""
    bus = state.bus

    async def archive(request: ArchiveRoomRequest) -> None:
        # Audited by auth, with the whole reason; an event has at most 500 characters of it.
        command = CloseRoom(request.id, request.room, request.reason[:500])
        await state.writer.submit(command, request.admin, correlation=request.id)

    async def list_rooms(request: ListRooms) -> RoomList:
        with reachable():
            return await rooms.page_of_all(state.reads, request)

    async def erase_user(request: EraseUser) -> ErasureInfo:
        # Before anything is hidden: what a restore would bring back must not look erased.
        state.erasures.require_ledger()
        with reachable():
            async with state.reads.acquire() as connection:
                return _info(await erasures.request_user(connection, request.user))

    async def get_erasure(request: GetErasure) -> ErasureInfo:
        with reachable():
            async with state.reads.acquire() as connection:
                found = await erasures.last_of_user(connection, request.user)
        if found is None:
            raise Reject(Code.NOT_FOUND, "Nothing of this user was asked to be erased.")
        return _info(found)

    async def read_user_events(request: ReadUserEvents) -> UserEvents:
        with reachable():
            return await user_events.page(state.reads, request)

    async def register_consumer(request: RegisterConsumer) -> None:
        with reachable():
            await answer_registration(state.reads, request.name, request.events, beginning=request.beginning)

    await bus.respond(subjects.REGISTER_CONSUMER, RegisterConsumer, register_consumer, queue=bus.service)
    await bus.respond(subjects.ARCHIVE_ROOM, ArchiveRoomRequest, archive, queue=bus.service)
    await bus.respond(subjects.LIST_ROOMS, ListRooms, list_rooms, queue=bus.service)
    await bus.respond(subjects.ERASE_USER, EraseUser, erase_user, queue=bus.service)
    await bus.respond(subjects.GET_ERASURE, GetErasure, get_erasure, queue=bus.service)
    await bus.respond(subjects.READ_USER_EVENTS, ReadUserEvents, read_user_events, queue=bus.service)


def _info(erasure: Erasure) -> ErasureInfo:
    return ErasureInfo(
        str(erasure.id), erasure.user_id or "", str(erasure.state), erasure.requested_at, erasure.completed_at,
        erasure.events,
    )  # fmt: skip
