"""Keeps the garbage collector away from connections that live for hours.

A full collection looks at every object of every connection: with 20,000 of them it blocks the loop for a third of a
second, and Python starts it when much is happening. So this module collects in small portions: it searches the objects
made since the last portion for cycles, and freezes those that remain. A frozen object is freed like any other when
nothing refers to it any more; cycles among them are found once in a long while.
"""

from __future__ import annotations

import asyncio
import gc

INTERVAL = 0.5
"""Seconds between two portions."""
FULL_INTERVAL = 3600.0
"""Seconds between two collections of everything."""


async def run_collector() -> None:
    """Collect for ever."""
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
