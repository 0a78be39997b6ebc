"""Chat's routing table: which command or query of namespace `/chat` does what, and what its ack holds."""

from __future__ import annotations

from typing import Any

from parley.chat.batch import Accepted
from parley.chat.commands import ArchiveRoom, CreateRoom, InviteUser, JoinRoom, LeaveRoom, RoomCommand, SendMessage
from parley.chat.database import UNAVAILABLE, unavailable
from parley.chat.publisher import NAMESPACE
from parley.chat.queries import History, Page, Queries, Sync, room_view
from parley.chat.writer import Writer
from parley.common.envelope import Identity
from parley.common.router import Context, Router


class Controllers:
    """Handlers of the namespace's events, on a writer for commands and on queries for reads."""

    def __init__(self, writer: Writer, queries: Queries) -> None:
        self._writer = writer
        self._queries = queries

    async def command(self, context: Context, command: RoomCommand) -> dict[str, Any]:
        """Decide, commit, and answer with what became of it."""
        accepted = await self._writer.submit(command, context.identity, context.correlation)
        return ack(command, accepted, context.identity)

    async def history(self, context: Context, query: History) -> Page:
        """A page of a room's log."""
        try:
            return await self._queries.history(query, context.identity)
        except UNAVAILABLE as error:
            raise unavailable() from error

    async def sync(self, context: Context, query: Sync) -> dict[str, Any]:
        """What each cursor missed."""
        try:
            return {"rooms": await self._queries.sync(query, context.identity)}
        except UNAVAILABLE as error:
            raise unavailable() from error


def ack(command: RoomCommand, accepted: Accepted, identity: Identity) -> dict[str, Any]:
    """The result of an accepted command: of a message its place in the log, of the others the room as well."""
    result: dict[str, Any] = {"sequence": accepted.sequence}
    if accepted.recorded is not None:
        result |= {"event_id": accepted.recorded.event_id, "at": accepted.recorded.recorded_at}
    if isinstance(command, CreateRoom | JoinRoom):
        result["room"] = room_view(accepted.room, identity.user_id)
    return result


def chat_router(controllers: Controllers) -> Router:
    """The table itself."""
    router = Router(NAMESPACE)
    router.on("room.create", CreateRoom, controllers.command, pipelined=True)
    router.on("room.join", JoinRoom, controllers.command, pipelined=True)
    router.on("room.leave", LeaveRoom, controllers.command, pipelined=True)
    router.on("room.invite", InviteUser, controllers.command, pipelined=True)
    router.on("room.archive", ArchiveRoom, controllers.command, pipelined=True)
    router.on("message.send", SendMessage, controllers.command, pipelined=True)
    router.on("history", History, controllers.history)
    router.on("sync", Sync, controllers.sync)
    return router
