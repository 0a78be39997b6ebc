"""Proves that projections are what the log says, while everybody works. `parley verify` runs it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from parley.chat.domain.projectors import ALL, Difference, Projector
from parley.chat.projections.replay import replay

Progress = Callable[[int, int], None]
"""Hears how many rooms are done, and the key of the last one. Keys are spread evenly, so it tells how far this is."""


class Verified(NamedTuple):
    """How many rooms were compared, how many rows differ, and the first difference."""

    rooms: int
    wrong: int
    first: Difference | None


async def verify(
    connection: Any, projectors: Collection[Projector] = ALL, progress: Progress | None = None
) -> Verified:
    """Replay every room and compare its rows. It locks and changes nothing."""
    rooms, wrong = 0, 0
    first: Difference | None = None
    async for chunk in replay(connection, projectors):
        for room in chunk:
            rooms += 1
            wrong += len(room.differences)
            if first is None and room.differences:
                first = room.differences[0]
        if progress is not None:
            progress(rooms, chunk[-1].room_id)
    return Verified(rooms, wrong, first)
