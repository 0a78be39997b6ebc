"""The table of blocks, reports and lists of moderators: what is in no room's log, and needs no `id` to be sent again.

Socket routes, REST routes, and the documents of both are made from it, as from the table of commands. Over HTTP the
fields in braces come from the path, and the others from the query of a GET or from the body.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from parley.chat.api import audited
from parley.chat.api.files import files_of
from parley.chat.attachments.downloads import FileAddresses
from parley.chat.attachments.file_tickets import ReportOfTicket
from parley.chat.log.database import reachable
from parley.chat.moderation import blocks, reported_files, reports, room_lists
from parley.chat.queries.visibility import key_of
from parley.chat.state import ChatState
from parley.common.wire.rights import Right
from parley.framework import Context, Identity, Router


@dataclass(frozen=True, slots=True)
class PeopleRoute:
    """One question or statement: its name, what it takes and gives, its method and path over HTTP, and who answers."""

    name: str
    payload: type[Any]
    result: Any
    method: str
    path: str
    summary: str
    answer: Callable[[ChatState, Identity, Any, str], Awaitable[Any]]
    writes: bool = True
    """Whether it is refused to who may read only."""
    own: bool = False
    """Whether it protects its sender from others, which who is suspended may as well."""


async def _block(chat: ChatState, identity: Identity, said: blocks.BlockUser, _correlation: str) -> None:
    await blocks.block(chat.reads, identity, said)


async def _unblock(chat: ChatState, identity: Identity, said: blocks.UnblockUser, _correlation: str) -> None:
    await blocks.unblock(chat.reads, identity, said)


async def _blocks(chat: ChatState, identity: Identity, asked: blocks.ListBlocks, _correlation: str) -> blocks.BlockList:
    return await blocks.page(chat.reads, identity, asked)


async def _report(
    chat: ChatState, identity: Identity, said: reports.ReportMessage, _correlation: str
) -> reports.Reported:
    return await reports.report(chat.reads, identity, said)


async def _reports(
    chat: ChatState, identity: Identity, asked: reports.ListReports, _correlation: str
) -> reports.ReportPage:
    return await reports.page(chat.reads, identity, asked)


async def _resolve(
    chat: ChatState, identity: Identity, said: reports.ResolveReport, correlation: str
) -> reports.ReportView:
    await audited.record_resolution(chat, said, identity, correlation)
    return await reports.resolve(chat.reads, identity, said)


async def _report_files(
    chat: ChatState, identity: Identity, asked: reported_files.AskReportFiles, _correlation: str
) -> FileAddresses:
    report = ReportOfTicket(key_of(asked.room), asked.report, identity.may(Right.MODERATE))
    return await files_of(chat).downloads.of_report(identity.user_id, report)


async def _restrictions(
    chat: ChatState, identity: Identity, asked: room_lists.ListRestrictions, _correlation: str
) -> room_lists.RestrictionList:
    return await room_lists.restrictions(chat.reads, identity, asked)


async def _invites(
    chat: ChatState, identity: Identity, asked: room_lists.ListInvites, _correlation: str
) -> room_lists.InviteList:
    return await room_lists.invites(chat.reads, identity, asked)


PEOPLE_ROUTES: tuple[PeopleRoute, ...] = (
    PeopleRoute(
        "user.block", blocks.BlockUser, None, "POST", "/me/blocks",
        "Block a user: no direct messages between the two, and no invitations from them.", _block,
        own=True,
    ),
    PeopleRoute(
        "user.unblock", blocks.UnblockUser, None, "POST", "/me/blocks/remove", "Take a block back.", _unblock, own=True
    ),
    PeopleRoute(
        "blocks", blocks.ListBlocks, blocks.BlockList, "GET", "/me/blocks",
        "Whom one has blocked.", _blocks, writes=False,
    ),
    PeopleRoute(
        "message.report", reports.ReportMessage, reports.Reported, "POST", "/rooms/{room}/reports",
        "Report a message to the moderators.", _report, own=True,
    ),
    PeopleRoute(
        "reports", reports.ListReports, reports.ReportPage, "GET", "/reports",
        "The reports of a room, for who may moderate it; of all rooms, for administrators.", _reports, writes=False,
    ),
    PeopleRoute(
        "report.resolve", reports.ResolveReport, reports.ReportView, "POST", "/rooms/{room}/reports/{report}/resolve",
        "Take a report out of the queue, and say what became of it.", _resolve,
    ),
    PeopleRoute(
        "report.files", reported_files.AskReportFiles, FileAddresses, "GET", "/rooms/{room}/reports/{report}/files",
        "Addresses of the files of a reported message, for some minutes; for who sees the report.", _report_files,
        writes=False,
    ),
    PeopleRoute(
        "restrictions", room_lists.ListRestrictions, room_lists.RestrictionList, "GET", "/rooms/{room}/restrictions",
        "Who is banned or muted in a room, or has a rule of their own; for who may moderate it.", _restrictions,
        writes=False,
    ),
    PeopleRoute(
        "invites", room_lists.ListInvites, room_lists.InviteList, "GET", "/rooms/{room}/invites",
        "The links into a room.", _invites, writes=False,
    ),
)  # fmt: skip


def add_people_routes(router: Router[ChatState], timeout: float) -> None:
    """Route what is in the table, each to a controller of its own."""
    for row in PEOPLE_ROUTES:
        router.route(row.name, _controller(row), timeout=timeout, writes=row.writes, own=row.own)


def _controller(row: PeopleRoute) -> Callable[..., Any]:
    async def controller(context: Context[ChatState], payload: Any) -> Any:
        with reachable():
            return await row.answer(context.state, context.identity, payload, context.correlation)

    controller.__name__ = controller.__qualname__ = row.name.replace(".", "_")
    controller.__doc__ = row.summary
    controller.__annotations__ = {"context": Context[ChatState], "payload": row.payload, "return": row.result}
    return controller
