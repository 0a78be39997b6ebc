"""Chat's routing table: which command or query of namespace `/chat` does what, and what its ack holds."""

from __future__ import annotations

from uuid import UUID

import msgspec

from parley.chat.delivery.publisher import NAMESPACE
from parley.chat.domain.batch import Accepted
from parley.chat.domain.events import ClientEvent, Instant
from parley.chat.domain.membership import (
    InviteUser,
    JoinRoom,
    LeaveRoom,
    MemberChanged,
    MemberInvited,
    MemberJoined,
    MemberLeft,
)
from parley.chat.domain.messages import MessageSent, SendMessage
from parley.chat.domain.room import RoomCommand
from parley.chat.domain.rooms import ArchiveRoom, CreateRoom, RoomArchived, RoomCreated
from parley.chat.log.database import COMMAND_SECONDS, reachable
from parley.chat.queries.queries import History, Page, RoomSync, RoomView, Sync, room_view
from parley.chat.state import State
from parley.framework import Context, Identity, RoomLog, Router

TIMEOUT = 2 * COMMAND_SECONDS
"""Longer than Postgres may take: whoever waits for a commit learns how it ended."""


class CommandAck(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of a command: of a message its place in the log, of those that lead into a room the room as well.

    Without `event_id` and `at`, nothing had to change.
    """

    sequence: int
    event_id: UUID | None = None
    at: Instant | None = None
    number: int | None = None
    room: RoomView | None = None


class Synced(msgspec.Struct, frozen=True):
    """What was missed, per room."""

    rooms: dict[str, RoomSync]


def room_log(state: State) -> RoomLog:
    """Where gateways find what clients missed."""
    return state.log


router: Router[State] = Router(NAMESPACE, log=room_log)


async def command(context: Context[State], payload: RoomCommand) -> CommandAck:
    """Decide, commit, and answer with what became of it."""
    accepted = await context.state.writer.submit(payload, context.identity, context.correlation)
    return ack(accepted, context.identity)


router.route("room.create", command, payload=CreateRoom, pipelined=True, timeout=TIMEOUT)
router.route("room.join", command, payload=JoinRoom, pipelined=True, timeout=TIMEOUT)
router.route("room.leave", command, payload=LeaveRoom, pipelined=True, timeout=TIMEOUT)
router.route("room.invite", command, payload=InviteUser, pipelined=True, timeout=TIMEOUT)
router.route("room.archive", command, payload=ArchiveRoom, pipelined=True, timeout=TIMEOUT)
router.route("message.send", command, payload=SendMessage, pipelined=True, timeout=TIMEOUT)


@router.on("history", timeout=TIMEOUT)
async def history(context: Context[State], query: History) -> Page:
    """A page of a room's log."""
    with reachable():
        return await context.state.queries.history(query, context.identity)


@router.on("sync", timeout=TIMEOUT)
async def sync(context: Context[State], query: Sync) -> Synced:
    """What each cursor missed."""
    with reachable():
        return Synced(await context.state.queries.sync(query, context.identity))


router.sends(RoomCreated.TYPE, ClientEvent[RoomCreated])
router.sends(MemberInvited.TYPE, ClientEvent[MemberInvited])
router.sends(MemberJoined.TYPE, ClientEvent[MemberJoined])
router.sends(MemberLeft.TYPE, ClientEvent[MemberLeft])
router.sends(MemberChanged.TYPE, ClientEvent[MemberChanged])
router.sends(MessageSent.TYPE, ClientEvent[MessageSent])
router.sends(RoomArchived.TYPE, ClientEvent[RoomArchived])


def ack(accepted: Accepted, identity: Identity) -> CommandAck:
    """The result of an accepted command."""
    recorded = accepted.recorded
    return CommandAck(
        accepted.sequence,
        recorded.event_id if recorded is not None else None,
        recorded.recorded_at if recorded is not None else None,
        recorded.number if recorded is not None and recorded.type == MessageSent.TYPE else None,
        room_view(accepted.room, identity.user_id) if accepted.room is not None else None,
    )
