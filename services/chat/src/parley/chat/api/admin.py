"""What chat answers to the admin API over NATS."""

from __future__ import annotations

from parley.chat.consumers.runner import answer_registration
from parley.chat.domain.rooms import CloseRoom
from parley.chat.log.database import reachable
from parley.chat.queries import rooms
from parley.chat.state import State
from parley.common import subjects
from parley.common.wire.admin import ArchiveRoomRequest, ListRooms, RoomList
from parley.common.wire.consumers import RegisterConsumer


async def start(state: State) -> None:
    """Begin to answer."""

    async def archive(request: ArchiveRoomRequest) -> None:
        command = CloseRoom(request.id, request.room, request.reason[:500])
        await state.writer.submit(command, request.admin, correlation=request.id)

    async def list_rooms(request: ListRooms) -> RoomList:
        with reachable():
            return await rooms.page_of_all(state.reads, request)

    async def register_consumer(request: RegisterConsumer) -> None:
        with reachable():
            await answer_registration(state.reads, request.name, request.events, beginning=request.beginning)

    await state.bus.respond(subjects.REGISTER_CONSUMER, RegisterConsumer, register_consumer, queue=state.bus.service)
    await state.bus.respond(subjects.ARCHIVE_ROOM, ArchiveRoomRequest, archive, queue=state.bus.service)
    await state.bus.respond(subjects.LIST_ROOMS, ListRooms, list_rooms, queue=state.bus.service)
