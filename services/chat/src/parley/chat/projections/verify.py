"""Proves that projections are what the log says, while everybody works. `parley verify` runs it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from parley.chat.domain.projectors import ALL, ROOMS, Difference, Projector, TextLeft
from parley.chat.projections.replay import replay

Progress = Callable[[int, int], None]
"""Hears how many rooms are done, and the key of the last one. Keys are spread evenly, so it tells how far this is."""


class Verified(NamedTuple):
    """How many rooms were compared, how many rows are wrong, and the first of them.

    Wrong are rows that differ, and erased events that hold a text which their room does not have any more.
    """

    rooms: int
    wrong: int
    first: Difference | TextLeft | None


async def verify(
    connection: Any, projectors: Collection[Projector] = ALL, progress: Progress | None = None
) -> Verified:
    """Replay every room and compare its rows. It locks and changes nothing."""
    rooms, wrong = 0, 0
    first: Difference | TextLeft | None = None
    async for chunk in replay(connection, projectors):
        for room in chunk:
            rooms += 1
            texts = room.folded.texts_left() if room.folded and ROOMS in projectors else []
            wrong += len(room.differences) + len(texts)
            first = first or next(iter((*room.differences, *texts)), None)
        if progress is not None:
            progress(rooms, chunk[-1].room_id)
    return Verified(rooms, wrong, first)
