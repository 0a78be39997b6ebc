"""What administrators do to rooms by chat's own commands is in auth's audit log as well, before it is done."""

from __future__ import annotations

from parley.chat.domain.room import RoomCommand
from parley.chat.domain.rooms import ArchiveRoom
from parley.chat.log.database import reachable
from parley.chat.queries import members
from parley.chat.state import ChatState
from parley.common.wire import subjects
from parley.common.wire.admin import RecordArchiving
from parley.framework import Identity


async def record(chat: ChatState, command: RoomCommand, identity: Identity, correlation: str) -> None:
    """Have a command of an administrator written down, if it is of a kind that is. Raises `Reject` if it cannot be."""
    if not isinstance(command, ArchiveRoom) or identity.right is None:
        return
    with reachable():
        # Anybody else's command is refused, and nothing happens that could be in the log.
        if not await members.is_owner(chat.reads, command.room, identity.user_id):
            return
    done = RecordArchiving(command.id, command.room, command.reason, identity, correlation)
    await chat.bus.call(subjects.AUDIT, done)
