"""What users ask and say about themselves, over the socket."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from parley.chat.api.own_state import OWN_EVENTS, OWN_ROUTES, OwnRoute
from parley.chat.reading.receipts import GetReceipts, Receipts, receipts_room
from parley.chat.state import ChatState
from parley.framework import Context, Router

WATCHED = "receipts"
"""The key in a connection's data under which it is remembered at whose receipts it looks."""


def add_own_routes(router: Router[ChatState], timeout: float) -> None:
    """Route what is in the table, each to a controller of its own."""
    for row in OWN_ROUTES:
        router.route(row.name, _controller(row), timeout=timeout, writes=row.writes, own=row.own)
    for event, kind in OWN_EVENTS.items():
        router.sends(event, kind)


def _controller(row: OwnRoute) -> Callable[..., Any]:
    if row.payload is GetReceipts:
        return _look_at_receipts

    async def controller(context: Context[ChatState], payload: Any) -> Any:
        return await row.answer(context.state, context.identity, payload)

    controller.__name__ = controller.__qualname__ = row.name.replace(".", "_")
    controller.__doc__ = row.summary
    controller.__annotations__ = {"context": Context[ChatState], "payload": row.payload, "return": row.result}
    return controller


async def _look_at_receipts(context: Context[ChatState], asked: GetReceipts) -> Receipts:
    """How far others have read a room.

    Without `sequence`, the connection is told of changes from then on, until it asks of another room.
    """
    (row,) = (row for row in OWN_ROUTES if row.payload is GetReceipts)
    found: Receipts = await row.answer(context.state, context.identity, asked)
    if asked.sequence is None:
        room = receipts_room(asked.room, found.changed)
        before = context.data.get(WATCHED)
        if isinstance(before, str) and before != room:
            await context.leave(before)
        await context.join(room)
        context.data[WATCHED] = room
    return found
