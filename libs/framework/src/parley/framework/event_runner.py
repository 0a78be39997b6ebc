"""Runs the middleware and the controller of an event and returns its outcome, whatever they raise.

The dispatcher calls `EventRunner.handle` for each event, the testing kit too. What fails is logged once, in a line of
bounded size (see `parley.common.logs`), and the client is told one of the codes:

| raised | told |
|---|---|
| `Reject` | its own code |
| `Unsendable`, by emitting or acking what a client had sent | `invalid_payload` |
| cancelled by the sweep, after the route's seconds | `timeout` |
| nothing, but the session became too large | `payload_too_large` |
| nothing, but middleware did not let it through | `forbidden` |
| nothing, but there is no controller | `unknown_event` |
| anything else, or a result that cannot be an ack | `internal` |
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from logging import DEBUG, WARNING
from typing import Any

import msgspec
from prometheus_client import Counter

from parley.common.binary import Unsendable
from parley.common.errors import Code, Reject
from parley.framework.context import Context
from parley.framework.outcome import Outcome
from parley.framework.router import LIFECYCLE, Router

EVENTS = Counter("parley_service_events_total", "Events handled by outcome", ["namespace", "event", "outcome"])

TIMEOUT = 5.0
"""Seconds a controller may take, unless its route says otherwise. By default the gateway waits no longer either."""
SWEEP_INTERVAL = 0.25
MAX_OUTCOME_BYTES = 512 * 1024
"""The largest outcome that fits a broker message."""


class EventRunner:
    """Runs the events of one namespace."""

    def __init__(self, router: Router[Any]) -> None:
        self._router = router
        self._handle = router.with_middleware()
        self._counts: defaultdict[tuple[str, str], int] = defaultdict(int)
        """Events by outcome since the last sweep: updating a metric costs more than most events do."""
        self._deadlines: dict[asyncio.Task[Any], float] = {}
        """When each task in which something runs has to be done."""
        self._expired: set[asyncio.Task[Any]] = set()
        """The tasks among them that took too long and were cancelled."""

    async def handle(self, context: Context[Any], task: asyncio.Task[Any] | None = None) -> Outcome:
        """Handle an event and return its outcome. It tells the namespace's `error` controller of what fails.

        `task` is the current one, for callers that know it: asking is a system call on Python 3.11.
        """
        task = task or asyncio.current_task()
        assert task is not None  # noqa: S101 - for the type checker
        rejection = await self._run(context, task)
        outcome, code = self._outcome(context, rejection)
        # Clients make up names of events, which are no labels.
        self._counts[context.event if context.event in self._router.routes else "", code] += 1
        if rejection is not None and "error" in self._router.routes and context.event not in LIFECYCLE:
            await self._tell_error_controller(context, rejection, task)
        return outcome

    async def _tell_error_controller(self, context: Context[Any], rejection: Reject, task: asyncio.Task[Any]) -> None:
        try:
            failure = msgspec.json.encode([{"event": context.event, **rejection.as_dict()}])
        except (TypeError, ValueError, msgspec.MsgspecError, RecursionError):
            return  # the rejection's own data is no JSON, which is in the log already
        # What fails in the `error` controller itself is logged, and told nobody.
        await self._run(context.fresh("error", failure), task)

    def _outcome(self, context: Context[Any], rejection: Reject | None) -> tuple[Outcome, str]:
        """The outcome to send, and the label that counts it."""
        try:
            if context.answer is not None:
                payload, attachments = context.answer
                outcome, code = Outcome(payload, True, attachments), "accepted"
            elif rejection is not None:
                outcome, code = Outcome.refused(rejection), str(rejection.code)
            else:
                binary = context.result is not context.plain_result
                outcome, code = Outcome.accepted(context.result, binary=binary), "accepted"
        except Unsendable as error:
            refusal = _unsendable(context, error)
            return Outcome.refused(refusal), str(refusal.code)
        except (TypeError, ValueError, msgspec.MsgspecError, RecursionError):
            context.log.exception("a result that cannot be an ack")
            return Outcome.refused(Reject(Code.INTERNAL)), str(Code.INTERNAL)
        size = len(outcome.payload)
        if outcome.attachments:
            size += sum(map(len, outcome.attachments))
        if size > MAX_OUTCOME_BYTES:
            context.log.error("outcome too large", bytes=size)
            return Outcome.refused(Reject(Code.INTERNAL)), str(Code.INTERNAL)
        return outcome, code

    async def _run(self, context: Context[Any], task: asyncio.Task[Any]) -> Reject | None:
        """Run the middleware and the controller, for as long as they may take. Return the refusal, if there is one."""
        route = self._router.routes.get(context.event)
        seconds = TIMEOUT if route is None or route.timeout is None else route.timeout
        self._deadlines[task] = time.monotonic() + seconds
        try:
            if context.event in LIFECYCLE:
                await self._router.call_controller(context)
            else:
                await self._handle(context)
        except Reject as rejection:
            # No client is told of what happens in lifecycle events, so the log is.
            level = WARNING if context.event in LIFECYCLE else DEBUG
            context.log.log(level, "rejected", code=str(rejection.code), message=rejection.message)
            return rejection
        except asyncio.CancelledError:
            if task not in self._expired or task.cancelling() > 1:
                raise
            context.log.error("controller took too long and was cancelled", seconds=seconds)
            return Reject(Code.TIMEOUT)
        except Unsendable as error:
            return _unsendable(context, error)
        except Exception:
            context.log.exception("controller failed")
            return Reject(Code.INTERNAL)
        finally:
            del self._deadlines[task]
            if task in self._expired:
                self._expired.remove(task)
                # The task goes on with the next command, whatever the controller made of its cancellation.
                task.uncancel()
        return self._unanswered(context) or _session_refusal(context)

    def _unanswered(self, context: Context[Any]) -> Reject | None:
        """Return the refusal of an event that nobody handled: what was not done may not be acked as if it were."""
        if context.answer is not None or context.result is not None or context.event in LIFECYCLE:
            return None
        if not context.released:
            return context.stopped()
        if context.event not in self._router.routes:
            return Reject(Code.UNKNOWN_EVENT, f"{context.namespace} has no event {context.event[:64]!r}.")
        return None

    async def run_sweep(self) -> None:
        """Cancel controllers that take too long and update the metrics, for ever."""
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


def _unsendable(context: Context[Any], error: Unsendable) -> Reject:
    level = WARNING if context.event in LIFECYCLE else DEBUG
    context.log.log(level, "arguments that cannot be sent", message=str(error))
    return Reject(Code.INVALID_PAYLOAD, f"{context.event[:64]}: {error}")


def _session_refusal(context: Context[Any]) -> Reject | None:
    """Return the refusal of an event that put too much into the session."""
    try:
        context.check_session()
    except Reject as rejection:
        context.log.warning("rejected", code=str(rejection.code), message=rejection.message)
        return rejection
    return None
