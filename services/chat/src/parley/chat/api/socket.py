"""Chat over the socket: what clients may emit in namespace `/chat`, and which events they are sent."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import get_args

from parley.chat.api import audited, files
from parley.chat.api.commands import COMMANDS, EVENTS, CommandAck, ack
from parley.chat.api.own_state import OWN_EVENTS, OWN_ROUTES
from parley.chat.api.people_routes import PEOPLE_ROUTES
from parley.chat.api.state_socket import add_state_routes
from parley.chat.attachments.downloads import AskFiles, FileAddresses
from parley.chat.delivery.publisher import NAMESPACE
from parley.chat.domain.events import ClientEvent
from parley.chat.domain.room import ChatCommand
from parley.chat.log.database import COMMAND_SECONDS, reachable
from parley.chat.previews import link_previews
from parley.chat.previews.link_previews import AskPreview, LinkPreview
from parley.chat.queries import history, pinned, reactors, sync
from parley.chat.search.finder import Search, SearchPage
from parley.chat.signals.room_signals import LookAtRoom, Typing, TypingSignal
from parley.chat.state import ChatState
from parley.framework import Context, Presence, PresenceChanges, RoomLog, Router

TIMEOUT = 2 * COMMAND_SECONDS
"""Seconds for a controller. Postgres answers or fails sooner, so a client that waits for a commit learns its outcome.
"""


def room_log(state: ChatState) -> RoomLog:
    """Return the log from which gateways fetch what clients missed."""
    return state.log


router: Router[ChatState] = Router(NAMESPACE, room_log=room_log)


def command(context: Context[ChatState], payload: ChatCommand) -> asyncio.Future[CommandAck]:
    """Decide a command, commit its events, and ack it with the result.

    It returns a future instead of being a coroutine, so that hundreds of commands wait without a task each.
    """
    identity = context.identity
    return context.state.writer.submit(payload, identity, context.correlation, partial(ack, identity))


async def audited_command(context: Context[ChatState], payload: ChatCommand) -> CommandAck:
    """The same, of a kind that is in the audit log before it is done, if it is an administrator's."""
    await audited.record(context.state, payload, context.identity, context.correlation)
    return await command(context, payload)


for row in COMMANDS:
    if issubclass(row.command, get_args(audited.AuditedCommand)):
        # What was sent after it waits for it, so that all keep their order.
        router.route(row.command.NAME, audited_command, payload=row.command, timeout=TIMEOUT, writes=row.writes)
        continue
    # Pipelined: a connection's next command is submitted while this one waits. The writer keeps their order.
    router.route(row.command.NAME, command, payload=row.command, pipelined=True, timeout=TIMEOUT, writes=row.writes)


@router.on("history", timeout=TIMEOUT, writes=False)
async def read_history(context: Context[ChatState], query: history.History) -> history.HistoryPage:
    """A page of a room's log."""
    with reachable():
        return await history.page(context.state.reads, query, context.identity)


@router.on("sync", timeout=TIMEOUT, writes=False)
async def read_missed(context: Context[ChatState], query: sync.Sync) -> sync.Synced:
    """What each cursor missed."""
    with reachable():
        return await sync.missed(context.state.reads, query, context.identity)


# Not pipelined: a message that is sent after it must not overtake it.
@router.on("typing")
async def signal_typing(context: Context[ChatState], typing: Typing) -> None:
    """Tell the room that one is writing."""
    await context.state.signals.type(context.identity, context.sid, typing)


@router.on("presence", pipelined=True, writes=False)
async def look_at_room(context: Context[ChatState], look: LookAtRoom) -> Presence | None:
    """Who is in a room, and from then on what changes."""
    return await context.state.signals.look(context, look)


@router.on("search", timeout=TIMEOUT, writes=False)
async def search_messages(context: Context[ChatState], query: Search) -> SearchPage:
    """Messages that one may read, by what is in them."""
    with reachable():
        return await context.state.finder.page(query, context.identity)


@router.on("files", timeout=TIMEOUT, writes=False)
async def file_addresses(context: Context[ChatState], query: AskFiles) -> FileAddresses:
    """Addresses of files that one may have, for some minutes."""
    with reachable():
        return await files.files_of(context.state).downloads.addresses(context.identity.user_id, query.uploads)


@router.on("preview", timeout=TIMEOUT, writes=False)
async def preview_link(context: Context[ChatState], query: AskPreview) -> LinkPreview:
    """What the first link in a text leads to."""
    with reachable():
        return await link_previews.previews_of(context.state.previews).preview(context.identity.user_id, query.text)


@router.on("pins", timeout=TIMEOUT, writes=False)
async def read_pins(context: Context[ChatState], query: pinned.Pins) -> pinned.PinnedPage:
    """The pinned messages of a room."""
    with reachable():
        return await pinned.page(context.state.reads, query, context.identity)


@router.on("reactions", timeout=TIMEOUT, writes=False)
async def read_reactions(context: Context[ChatState], query: reactors.Reactions) -> reactors.ReactionPage:
    """Everybody who reacted to a message."""
    with reachable():
        return await reactors.page(context.state.reads, query, context.identity)


for event in EVENTS:
    router.sends(event.TYPE, ClientEvent[event])

add_state_routes(router, PEOPLE_ROUTES, TIMEOUT)
router.sends("typing", TypingSignal)
router.sends("presence", PresenceChanges)
add_state_routes(router, OWN_ROUTES, TIMEOUT)
for name, kind in OWN_EVENTS.items():
    router.sends(name, kind)
