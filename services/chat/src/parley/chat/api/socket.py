"""Chat over the socket: what clients may emit in namespace `/chat`, and which events they are sent."""

from __future__ import annotations

import asyncio
from functools import partial

from parley.chat.api import audited
from parley.chat.api.commands import COMMANDS, EVENTS, CommandAck, ack
from parley.chat.delivery.publisher import NAMESPACE
from parley.chat.domain.events import ClientEvent
from parley.chat.domain.room import RoomCommand
from parley.chat.domain.rooms import ArchiveRoom
from parley.chat.log.database import COMMAND_SECONDS, reachable
from parley.chat.queries import history, pinned, sync
from parley.chat.state import ChatState
from parley.framework import Context, RoomLog, Router

TIMEOUT = 2 * COMMAND_SECONDS
"""Seconds for a controller. Postgres answers or fails sooner, so a client that waits for a commit learns its outcome.
"""


def room_log(state: ChatState) -> RoomLog:
    """Return the log from which gateways fetch what clients missed."""
    return state.log


router: Router[ChatState] = Router(NAMESPACE, room_log=room_log)


def command(context: Context[ChatState], payload: RoomCommand) -> asyncio.Future[CommandAck]:
    """Decide a command, commit its events, and ack it with the result.

    It returns a future instead of being a coroutine, so that hundreds of commands wait without a task each.
    """
    identity = context.identity
    return context.state.writer.submit(payload, identity, context.correlation, partial(ack, identity))


async def archive(context: Context[ChatState], payload: ArchiveRoom) -> CommandAck:
    """By its owner; the room stays readable and takes no more changes."""
    # Of an administrator, who archives a room of theirs, it is in the audit log before it is done.
    await audited.record(context.state, payload, context.identity, context.correlation)
    return await command(context, payload)


for row in COMMANDS:
    if row.command is ArchiveRoom:
        # What was sent after it waits for it, so that all keep their order.
        router.route(ArchiveRoom.NAME, archive, timeout=TIMEOUT, writes=row.writes)
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


@router.on("pins", timeout=TIMEOUT, writes=False)
async def read_pins(context: Context[ChatState], query: pinned.Pins) -> pinned.PinnedPage:
    """The pinned messages of a room."""
    with reachable():
        return await pinned.page(context.state.reads, query, context.identity)


for event in EVENTS:
    router.sends(event.TYPE, ClientEvent[event])
