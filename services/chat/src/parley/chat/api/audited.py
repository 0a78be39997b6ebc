"""What administrators do to rooms by chat's own commands is in auth's audit log as well, before it is done."""

from __future__ import annotations

from typing import Any

import msgspec

from parley.chat.domain.people.authority import AuthorityCommand
from parley.chat.domain.people.moderation import ModerationCommand
from parley.chat.domain.room import ChatCommand
from parley.chat.domain.rooms import ArchiveRoom, UnarchiveRoom
from parley.chat.log.database import reachable
from parley.chat.moderation.reports import ResolveReport
from parley.chat.queries import members
from parley.chat.state import ChatState
from parley.common.wire import subjects
from parley.common.wire.admin import RecordAction
from parley.framework import Identity

AuditedCommand = ArchiveRoom | UnarchiveRoom | ModerationCommand | AuthorityCommand


async def record(chat: ChatState, command: ChatCommand, identity: Identity, correlation: str) -> None:
    """Have a command of an administrator written down, if it is of a kind that is. Raises `Reject` if it cannot be."""
    if not isinstance(command, AuditedCommand) or identity.right is None:
        return
    with reachable():
        # Anybody else's command is refused, and nothing happens that could be in the log.
        if await members.role(chat.reads, command.room, identity.user_id) not in {"owner", "moderator"}:
            return
    detail: dict[str, Any] = {
        name: value for name, value in msgspec.to_builtins(command).items() if name not in {"id", "room"}
    }
    before = after = None
    if isinstance(command, ArchiveRoom | UnarchiveRoom):
        archives = isinstance(command, ArchiveRoom)
        before, after = {"archived": not archives}, {"archived": archives}
        detail = {"reason": command.reason} if isinstance(command, ArchiveRoom) else {}
    done = RecordAction(command.id, command.NAME, command.room, detail, identity, correlation, before, after)
    await chat.bus.call(subjects.AUDIT, done)


async def record_resolution(chat: ChatState, said: ResolveReport, identity: Identity, correlation: str) -> None:
    """Have it written down that an administrator resolves a report. Raises `Reject` if it cannot be."""
    if identity.right is None:
        return
    detail = {"report": str(said.report), "resolution": said.resolution, "note": said.note}
    done = RecordAction(str(said.report), "report.resolve", said.room, detail, identity, correlation)
    await chat.bus.call(subjects.AUDIT, done)
