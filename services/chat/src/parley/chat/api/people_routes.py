"""The table of blocks, reports and lists of moderators: none of it is in a log."""

from __future__ import annotations

from parley.chat.api import audited
from parley.chat.api.state_routes import StateRoute, on_reads
from parley.chat.moderation import blocks, reports, room_lists
from parley.chat.state import ChatState
from parley.framework import Identity


async def _resolve(
    chat: ChatState, identity: Identity, said: reports.ResolveReport, correlation: str
) -> reports.ReportView:
    await audited.record_resolution(chat, said, identity, correlation)
    return await reports.resolve(chat.reads, identity, said)


PEOPLE_ROUTES: tuple[StateRoute, ...] = (
    StateRoute(
        "user.block", blocks.BlockUser, None, "POST", "/me/blocks",
        "Block a user: no direct messages between the two, and no invitations from them.", on_reads(blocks.block),
        writes=True,
    ),
    StateRoute(
        "user.unblock", blocks.UnblockUser, None, "POST", "/me/blocks/remove",
        "Take a block back.", on_reads(blocks.unblock), writes=True,
    ),
    StateRoute(
        "blocks", blocks.ListBlocks, blocks.BlockList, "GET", "/me/blocks",
        "Whom one has blocked.", on_reads(blocks.page),
    ),
    StateRoute(
        "message.report", reports.ReportMessage, reports.Reported, "POST", "/rooms/{room}/reports",
        "Report a message to the moderators.", on_reads(reports.report), writes=True, id_optional=True,
    ),
    StateRoute(
        "reports", reports.ListReports, reports.ReportPage, "GET", "/reports",
        "The reports of a room, for who may moderate it; of all rooms, for administrators.", on_reads(reports.page),
    ),
    StateRoute(
        "report.resolve", reports.ResolveReport, reports.ReportView, "POST", "/rooms/{room}/reports/{report}/resolve",
        "Take a report out of the queue, and say what became of it.", _resolve, writes=True, reaches_others=True,
    ),
    StateRoute(
        "restrictions", room_lists.ListRestrictions, room_lists.RestrictionList, "GET", "/rooms/{room}/restrictions",
        "Who is banned or muted in a room, or has a rule of their own; for who may moderate it.",
        on_reads(room_lists.restrictions),
    ),
    StateRoute(
        "invites", room_lists.ListInvites, room_lists.InviteList, "GET", "/rooms/{room}/invites",
        "The links into a room.", on_reads(room_lists.invites),
    ),
)  # fmt: skip
