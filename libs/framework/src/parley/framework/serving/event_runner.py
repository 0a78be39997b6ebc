"""Runs the middleware and the controller of an event and tells its outcome, whatever they raise.

The dispatcher calls `EventRunner.begin` for plain controllers, whose outcome is there at once or with their future, and
`EventRunner.handle` for all others, the testing kit too. What fails is logged once, in a line of
bounded size (see `parley.common.process.logs`), and the client is told one of the codes:

| raised | told |
|---|---|
| `Reject` | its own code |
| `Unsendable`, by emitting or acking what a client had sent | `invalid_payload` |
| cancelled by the sweep, after the route's seconds | `timeout` |
| nothing, but the connection's data became too large | `payload_too_large` |
| nothing, but middleware did not let it through | `forbidden` |
| nothing, but there is no controller | `unknown_event` |
| anything else, or a result that cannot be an ack | `internal` |
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable
from logging import DEBUG, WARNING
from typing import Any, Generic, TypeVar

import msgspec
from prometheus_client import Counter

from parley.common.errors import Code, Reject
from parley.common.wire.binary import Unsendable
from parley.framework.routing.context import Context
from parley.framework.routing.router import LIFECYCLE, Route, Router, as_future
from parley.framework.serving.event_result import EventResult

KeyT = TypeVar("KeyT")

EVENTS = Counter("parley_service_events_total", "Events handled by outcome", ["namespace", "event", "outcome"])

TIMEOUT = 5.0
"""Seconds a controller may take, unless its route says otherwise. By default the gateway waits no longer either."""
SWEEP_INTERVAL = 0.25
MAX_RESULT_BYTES = 512 * 1024
"""The largest outcome that fits a broker message."""


OnResult = Callable[[Context[Any], KeyT, EventResult], object]
"""Hears the outcome of an event that was started, with what the caller knows it by."""


class _Started(msgspec.Struct, Generic[KeyT]):
    """An event whose controller returned a future. `deadline` is when that has to be done."""

    deadline: float
    context: Context[Any]
    route: Route
    key: KeyT
    on_result: OnResult[KeyT]


class EventRunner:
    """Runs the events of one namespace."""

    def __init__(self, router: Router[Any]) -> None:
        self._router = router
        self._waits_around = bool(router.packet_middleware)
        """Whether there is something around controllers that has to be awaited."""
        self._started: dict[asyncio.Future[Any], _Started[Any]] = {}
        """What plain controllers returned and is not done."""
        self._closed = False
        self._handle = router.with_middleware()
        self._counts: defaultdict[tuple[str, str], int] = defaultdict(int)
        """Events by outcome since the last sweep: updating a metric costs more than most events do."""
        self._deadlines: dict[asyncio.Task[Any], float] = {}
        """When each task in which something runs has to be done."""
        self._expired: set[asyncio.Future[Any]] = set()
        """The tasks among them, and the futures of plain controllers, that took too long and were cancelled."""

    # -- plain controllers -----------------------------------------------------------------------------------------

    def may_start(self, event: str, *, alone: bool) -> bool:
        """Whether `begin` may run an event: `alone`, or while others of its connection are under way.

        What is around a controller, and the `error` controller, need a task.
        """
        routes = self._router.routes
        route = routes.get(event)
        return (
            route is not None
            and route.plain
            and (alone or route.pipelined)
            and not self._waits_around
            and event not in LIFECYCLE
            and "error" not in routes
        )

    def start(self, context: Context[Any], key: KeyT, on_result: OnResult[KeyT], now: float) -> None:
        """Run a plain controller. `on_result` is called at once or, without a task, when its future is done."""
        route = self._router.routes[context.event]
        context.released = True
        try:
            result = route.controller(context, *route.arguments(*context.encoded_args))
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - whatever it is, the client is told a code
            self._end(context, key, on_result, self._refusal(context, error))
            return
        if (future := as_future(result)) is not None:
            if future in self._started:
                future = asyncio.shield(future)  # one that several events wait for
            self._started[future] = _Started(now + _seconds(route), context, route, key, on_result)
            future.add_done_callback(self._done)
            return
        context.succeed(result, binary=route.binary_result)
        self._end(context, key, on_result, None)

    def close(self) -> None:
        """Cancel what plain controllers wait for; nobody is told an outcome."""
        self._closed = True
        for future in list(self._started):
            future.cancel()

    def _done(self, future: asyncio.Future[Any]) -> None:
        started = self._started.pop(future)
        context, route = started.context, started.route
        rejection: Reject | None = None
        try:
            context.succeed(future.result(), binary=route.binary_result)
        except asyncio.CancelledError as error:
            if self._closed:
                return
            expired = future in self._expired
            rejection = self._cancelled(context, route) if expired else self._refusal(context, error)
        except Exception as error:  # noqa: BLE001 - as in `begin`
            rejection = self._refusal(context, error)
        if self._expired:
            self._expired.discard(future)
        self._end(context, started.key, started.on_result, rejection)

    def _end(self, context: Context[Any], key: KeyT, on_result: OnResult[KeyT], rejection: Reject | None) -> None:
        outcome, code = self._outcome(context, rejection or _data_refusal(context))
        self._counts[context.event, code] += 1
        on_result(context, key, outcome)

    # -- all others ------------------------------------------------------------------------------------------------

    async def handle(self, context: Context[Any], task: asyncio.Task[Any] | None = None) -> EventResult:
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

    def _outcome(self, context: Context[Any], rejection: Reject | None) -> tuple[EventResult, str]:
        """The outcome to send, and the label that counts it."""
        try:
            if context.answer is not None:
                payload, attachments = context.answer
                outcome, code = EventResult(payload, True, attachments), "accepted"
            elif rejection is not None:
                outcome, code = EventResult.refused(rejection), str(rejection.code)
            else:
                binary = context.result is not context.plain_result
                outcome, code = EventResult.accepted(context.result, binary=binary), "accepted"
        except Unsendable as error:
            refusal = _unsendable(context, error)
            return EventResult.refused(refusal), str(refusal.code)
        except (TypeError, ValueError, msgspec.MsgspecError, RecursionError):
            context.log.exception("a result that cannot be an ack")
            return EventResult.refused(Reject(Code.INTERNAL)), str(Code.INTERNAL)
        size = len(outcome.payload)
        if outcome.attachments:
            size += sum(map(len, outcome.attachments))
        if size > MAX_RESULT_BYTES:
            context.log.error("outcome too large", bytes=size)
            return EventResult.refused(Reject(Code.INTERNAL)), str(Code.INTERNAL)
        return outcome, code

    async def _run(self, context: Context[Any], task: asyncio.Task[Any]) -> Reject | None:
        """Run the middleware and the controller, for as long as they may take. Return the refusal, if there is one."""
        route = self._router.routes.get(context.event)
        self._deadlines[task] = time.monotonic() + _seconds(route)
        try:
            if context.event in LIFECYCLE:
                await self._router.call_controller(context)
            else:
                await self._handle(context)
        except asyncio.CancelledError:
            if task not in self._expired or task.cancelling() > 1:
                raise
            return self._cancelled(context, route)
        except Exception as error:  # noqa: BLE001 - whatever it is, the client is told a code
            return self._refusal(context, error)
        finally:
            del self._deadlines[task]
            if task in self._expired:
                self._expired.remove(task)
                # The task goes on with the next command, whatever the controller made of its cancellation.
                task.uncancel()
        return self._unanswered(context) or _data_refusal(context)

    @staticmethod
    def _refusal(context: Context[Any], error: BaseException) -> Reject:
        """What the client is told of what a controller, or the middleware around it, has just raised."""
        if isinstance(error, Reject):
            # No client is told of what happens in lifecycle events, so the log is.
            level = WARNING if context.event in LIFECYCLE else DEBUG
            context.log.log(level, "rejected", code=str(error.code), message=error.message)
            return error
        if isinstance(error, Unsendable):
            return _unsendable(context, error)
        context.log.exception("controller failed")  # noqa: LOG004 - called by their exception handlers
        return Reject(Code.INTERNAL)

    @staticmethod
    def _cancelled(context: Context[Any], route: Route | None) -> Reject:
        """What the client is told of a controller that the sweep has cancelled."""
        context.log.error("controller took too long and was cancelled", seconds=_seconds(route))
        return Reject(Code.TIMEOUT)

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
            late: list[asyncio.Future[Any]] = [task for task, deadline in self._deadlines.items() if deadline < now]
            late += [future for future, started in self._started.items() if started.deadline < now]
            for future in late:
                if future not in self._expired:
                    self._expired.add(future)
                    future.cancel()


def _seconds(route: Route | None) -> float:
    return TIMEOUT if route is None or route.timeout is None else route.timeout


def _unsendable(context: Context[Any], error: Unsendable) -> Reject:
    level = WARNING if context.event in LIFECYCLE else DEBUG
    context.log.log(level, "arguments that cannot be sent", message=str(error))
    return Reject(Code.INVALID_PAYLOAD, f"{context.event[:64]}: {error}")


def _data_refusal(context: Context[Any]) -> Reject | None:
    """Return the refusal of an event that put too much into the connection's data."""
    try:
        context.check_data()
    except Reject as rejection:
        context.log.warning("rejected", code=str(rejection.code), message=rejection.message)
        return rejection
    return None
