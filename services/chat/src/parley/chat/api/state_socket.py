"""What is in no log over the socket: what users say of themselves, blocks, reports and lists of moderators."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from parley.chat.api.state_routes import StateRoute
from parley.chat.log.database import reachable
from parley.chat.reading import receipts
from parley.chat.reading.receipts import GetReceipts, Receipts, receipts_room
from parley.chat.state import ChatState
from parley.framework import Context, Router

WATCHED = "receipts"
"""The key in a connection's data under which it is remembered at whose receipts it looks."""


def add_state_routes(router: Router[ChatState], rows: Iterable[StateRoute], timeout: float) -> None:
    """Route what is in a table, each row to a controller of its own."""
    for row in rows:
        controller = row.over_socket or _controller(row)
        router.route(row.name, controller, pipelined=row.pipelined, timeout=timeout, writes=row.writes, own=row.own)


def _controller(row: StateRoute) -> Callable[..., Any]:
    async def controller(context: Context[ChatState], payload: Any) -> Any:
        with reachable():
            return await row.answer(context.state, context.identity, payload, context.correlation)

    controller.__name__ = controller.__qualname__ = row.name.replace(".", "_")
    controller.__doc__ = row.summary
    # Read by the router, which decodes the payload by them, and by the documents.
    controller.__annotations__ = {"context": Context[ChatState], "payload": row.payload, "return": row.result}
    return controller


async def look_at_receipts(context: Context[ChatState], asked: GetReceipts) -> Receipts:
    """How far others have read a room.

    Without `sequence`, the connection is told of changes from then on, until it asks of another room.
    """
    found = await receipts.receipts(context.state.reads, context.identity, asked)
    if asked.sequence is None:
        room = receipts_room(asked.room, found.changed)
        before = context.data.get(WATCHED)
        # One room at a time, so that whoever looks at a thousand rooms is not told of all of them for ever.
        if isinstance(before, str) and before != room:
            await context.leave(before)
        await context.join(room)
        context.data[WATCHED] = room
    return found
