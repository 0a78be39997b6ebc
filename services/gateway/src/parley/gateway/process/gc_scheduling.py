"""Keeping the garbage collector away from connections that live for hours.

A full collection looks at every object of every connection: with 20,000 of them it blocks the loop for a third of a
second, and it comes when much happens. So collecting is done here, in small portions: what was made since the last one
is searched for cycles, and what is left is set aside. It is freed like anything else when nobody refers to it any more;
what has become a cycle by then is found once in a long while.
"""

from __future__ import annotations

import asyncio
import gc

INTERVAL = 0.5
"""Seconds between two portions."""
FULL_INTERVAL = 3600.0
"""Seconds between collections of everything."""


async def run_collector() -> None:
    """Collect, for ever."""
    gc.disable()
    turns = int(FULL_INTERVAL / INTERVAL)
    try:
        while True:
            gc.unfreeze()
            gc.collect()
            for _ in range(turns):
                gc.freeze()
                await asyncio.sleep(INTERVAL)
                gc.collect(0)
    finally:
        gc.enable()
