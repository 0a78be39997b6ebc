"""Faults as they are made: each at its time, until it is over and what it was done to is ready again."""

from __future__ import annotations

import asyncio
import itertools
import signal
import time
from collections.abc import Sequence
from typing import Any

from tests.chaos.ledger import Ledger
from tests.chaos.schedule import Fault
from tests.chaos.servers import Service
from tests.chaos.stack import Stack


class Faults:
    """Makes the faults of a schedule."""

    def __init__(self, stack: Stack, ledger: Ledger) -> None:
        self._stack = stack
        self._ledger = ledger
        self.made: list[Fault] = []
        self.deaths: list[str] = []
        """Processes that ended by themselves, or did not come back."""

    async def play(self, schedule: Sequence[Fault], seconds: float) -> None:
        """Make those that there is time for, each as long after the one before is undone as the schedule has it."""
        began = time.monotonic()
        delay = 0.0
        for at, faults in itertools.groupby(schedule, key=lambda fault: fault.at):
            together = list(faults)
            if at + delay > seconds:
                return
            await asyncio.sleep(max(0.0, began + at + delay - time.monotonic()))
            await asyncio.gather(*(self._make(fault) for fault in together))
            self.made += together
            due = at + max(fault.seconds for fault in together)
            delay = max(0.0, time.monotonic() - began - due)

    async def _make(self, fault: Fault) -> None:
        began = time.monotonic()
        try:
            if fault.part in self._stack.links:
                await self._break(fault)
            else:
                await self._harm(fault)
        except (AssertionError, TimeoutError) as error:
            self.deaths.append(f"{fault}: {error}")
        self._ledger.write("fault", began=began, fault=str(fault))

    async def _break(self, fault: Fault) -> None:
        link = self._stack.links[fault.part]
        {"cut": link.cut, "freeze": link.freeze, "flap": link.flap}[fault.kind]()
        await asyncio.sleep(fault.seconds)
        link.mend()

    async def _harm(self, fault: Fault) -> None:
        part: Any = self._stack.parts[fault.part]
        if not part.running:
            self.deaths.append(f"{fault.part} had ended by itself before {fault}")
            part.start()
        match fault.kind:
            case "kill":
                part.kill()
                await asyncio.sleep(fault.seconds)
                part.start()
            case "terminate":
                await asyncio.to_thread(part.end if isinstance(part, Service) else part.stop)
                await asyncio.sleep(fault.seconds)
                part.start()
            case "stop":
                part.send(signal.SIGSTOP)
                await asyncio.sleep(fault.seconds)
                part.send(signal.SIGCONT)
            case "jump":
                clock = self._stack.clocks[fault.part]
                clock.set(fault.jump)
                await asyncio.sleep(fault.seconds)
                clock.set(0)
            case _:
                self._stack.postgres.crash()
                # Until it has noticed, it answers as if nothing had been.
                await asyncio.sleep(fault.seconds)
        await part.ready()
