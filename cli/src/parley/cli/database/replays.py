"""Replays the log to rebuild projections, or to compare them with it."""

from __future__ import annotations

from parley.chat.domain.projectors import PROJECTORS, Projector
from parley.chat.projections.rebuild import Rebuilt, rebuild
from parley.chat.projections.replay import SETTINGS
from parley.chat.projections.verify import Progress, Verified, verify
from parley.cli.database.log_connection import log_connection
from parley.cli.failure import CommandFailure


async def rebuild_projections(url: str, name: str, progress: Progress | None = None) -> Rebuilt:
    """Rebuild a projection from the log, or all of them without a name.

    Raises `CommandFailure` if there is no log or no such projection.
    """
    async with log_connection(url, **SETTINGS) as connection:
        return await rebuild(connection, _projectors(name), progress)


async def verify_projections(url: str, name: str, progress: Progress | None = None) -> Verified:
    """Compare a projection with the log, or all of them without a name.

    Raises `CommandFailure` if there is no log or no such projection.
    """
    async with log_connection(url, **SETTINGS) as connection:
        return await verify(connection, _projectors(name), progress)


def _projectors(name: str) -> list[Projector]:
    if name and name not in PROJECTORS:
        raise CommandFailure(f"there is no projection {name!r}; there are {', '.join(sorted(PROJECTORS))}")
    return [PROJECTORS[name]] if name else [*PROJECTORS.values()]
