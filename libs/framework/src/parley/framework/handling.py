"""From an event to its outcome: the middleware and the controller run, for as long as they may, and fail in order."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from logging import DEBUG, WARNING
from typing import Any

import msgspec
from prometheus_client import Counter

from parley.common.errors import Code, Reject
from parley.common.wire.commands import ok_payload
from parley.framework.context import Context
from parley.framework.outcome import Outcome
from parley.framework.router import LIFECYCLE, Router

EVENTS = Counter("parley_service_events_total", "Events handled by outcome", ["namespace", "event", "outcome"])

TIMEOUT = 5.0
"""Seconds a controller may take, unless its route says otherwise: the gateway waits no longer by default."""
SWEEP_INTERVAL = 0.25
MAX_OUTCOME_BYTES = 512 * 1024
"""The largest outcome that fits a broker message."""


class Handling:
    """Handles the events of one namespace."""

    def __init__(self, router: Router[Any]) -> None:
        self._router = router
        self._handle = router.composed()
        self._counts: defaultdict[tuple[str, str], int] = defaultdict(int)
        """Of events and outcomes since the last sweep: a metric costs more than most of what is counted."""
        self._deadlines: dict[asyncio.Task[Any], float] = {}
        """Of the tasks in which something runs."""
        self._expired: set[asyncio.Task[Any]] = set()
        """Those of them that took too long and were cancelled."""

    async def handle(self, context: Context[Any], task: asyncio.Task[Any] | None = None) -> Outcome:
        """Handle an event, whatever happens. An `error` controller is told of what fails.

        `task` is the current one, for callers that know it: asking is a system call on Python 3.11.
        """
        task = task or asyncio.current_task()
        assert task is not None  # noqa: S101 - for the type checker
        rejection = await self._run(context, task)
        if context.answer is not None:
            payload, attachments = context.answer
            outcome = Outcome(payload, True, attachments)
        elif rejection is not None:
            outcome = Outcome.refused(rejection)
        else:
            outcome = _outcome(context)
        size = len(outcome.payload)
        if outcome.attachments:
            size += sum(map(len, outcome.attachments))
        if size > MAX_OUTCOME_BYTES:
            context.log.error("outcome too large", bytes=len(outcome.payload))
            outcome = Outcome.refused(Reject(Code.INTERNAL))
        code = "accepted" if outcome.ok else str(rejection.code) if rejection is not None else str(Code.INTERNAL)
        # What clients make up is no label.
        self._counts[context.event if context.event in self._router.routes else "", code] += 1
        if rejection is not None and "error" in self._router.routes and context.event not in LIFECYCLE:
            failure = {"event": context.event, **rejection.as_dict()}
            # A context of its own; what fails in there is only logged.
            await self._run(context.fresh("error", msgspec.json.encode([failure])), task)
        return outcome

    async def _run(self, context: Context[Any], task: asyncio.Task[Any]) -> Reject | None:
        """Run a controller and what surrounds it, for as long as it may take. Returns why it was refused, if it was."""
        route = self._router.routes.get(context.event)
        seconds = TIMEOUT if route is None or route.timeout is None else route.timeout
        self._deadlines[task] = time.monotonic() + seconds
        try:
            if context.event in LIFECYCLE:
                await self._router.control(context)
            else:
                await self._handle(context)
        except Reject as rejection:
            # Of a connection's life, no client is told.
            level = WARNING if context.event in LIFECYCLE else DEBUG
            context.log.log(level, "rejected", code=str(rejection.code), message=rejection.message)
            return rejection
        except asyncio.CancelledError:
            if task not in self._expired or task.cancelling() > 1:
                raise
            context.log.error("controller took too long and was cancelled", seconds=seconds)
            return Reject(Code.TIMEOUT)
        except Exception:
            context.log.exception("controller failed")
            return Reject(Code.INTERNAL)
        finally:
            del self._deadlines[task]
            if task in self._expired:
                self._expired.remove(task)
                # Whatever the controller made of its cancellation: the connection's next command is not cancelled.
                task.uncancel()
        return self._unanswered(context)

    def _unanswered(self, context: Context[Any]) -> Reject | None:
        """Why nobody handled an event: what was not done may not be acked as if it were."""
        if context.answer is not None or context.result is not None or context.event in LIFECYCLE:
            return None
        if not context.released:
            return context.stopped()
        if context.event not in self._router.routes:
            return Reject(Code.UNKNOWN_EVENT, f"{context.namespace} has no event {context.event[:64]!r}.")
        return None

    async def run_sweep(self) -> None:
        """Cancel what takes too long and report what was done, for ever."""
        while True:
            await asyncio.sleep(SWEEP_INTERVAL)
            counts, self._counts = self._counts, defaultdict(int)
            for (event, outcome), count in counts.items():
                EVENTS.labels(self._router.namespace, event, outcome).inc(count)
            now = time.monotonic()
            for task in [task for task, deadline in self._deadlines.items() if deadline < now]:
                if task not in self._expired:
                    self._expired.add(task)
                    task.cancel()


def _outcome(context: Context[Any]) -> Outcome:
    try:
        return Outcome(ok_payload(context.result), True)
    except (TypeError, ValueError, msgspec.MsgspecError):
        context.log.exception("a result that cannot be an ack")
        return Outcome.refused(Reject(Code.INTERNAL))
