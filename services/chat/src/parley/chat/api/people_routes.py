"""The table of blocks, reports, lists of moderators and presence: none of it is in a log."""

from __future__ import annotations

from parley.chat.api import audited
from parley.chat.api.files import files_of
from parley.chat.api.state_routes import StateRoute, on_reads
from parley.chat.attachments.downloads import FileAddresses
from parley.chat.attachments.file_tickets import ReportOfTicket
from parley.chat.moderation import blocks, reported_files, reports, room_lists
from parley.chat.queries.visibility import key_of
from parley.chat.signals import present_members
from parley.chat.signals.room_signals import OwnPresence
from parley.chat.state import ChatState
from parley.common.wire.rights import Right
from parley.framework import Context, Identity


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


async def _present(
    chat: ChatState, identity: Identity, asked: present_members.ListPresence, _correlation: str
) -> present_members.PresencePage:
    return await chat.signals.present.page(identity, asked)


async def _own_presence(
    chat: ChatState, identity: Identity, _asked: present_members.GetOwnPresence, _correlation: str
) -> present_members.OwnPresenceState:
    return await chat.signals.present.own(identity)


async def _choose_presence(chat: ChatState, identity: Identity, own: OwnPresence, _correlation: str) -> None:
    await chat.signals.choose_elsewhere(identity, own)


async def _choose_presence_here(context: Context[ChatState], own: OwnPresence) -> None:
    """What one is shown as, on all devices; and whether this one is idle."""
    await context.state.signals.choose(context, own)


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
        "report.files", reported_files.AskReportFiles, FileAddresses, "GET", "/rooms/{room}/reports/{report}/files",
        "Addresses of the files of a reported message, for some minutes; for who sees the report.", _report_files,
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
    StateRoute(
        "presence.list", present_members.ListPresence, present_members.PresencePage, "GET", "/rooms/{room}/presence",
        "Who of a room is there now.", _present, pipelined=True,
    ),
    StateRoute(
        "presence.own", present_members.GetOwnPresence, present_members.OwnPresenceState, "GET", "/me/presence",
        "What one is shown as, and what of it was chosen.", _own_presence, pipelined=True,
    ),
    StateRoute(
        "presence.set", OwnPresence, None, "POST", "/me/presence",
        "What one is shown as, on all devices; and whether this one is idle.", _choose_presence,
        over_socket=_choose_presence_here, pipelined=True,
    ),
)  # fmt: skip
