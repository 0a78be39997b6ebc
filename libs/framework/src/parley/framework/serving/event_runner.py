"""Runs the middleware and the controller of an event and makes an outcome of whatever they return or raise.

The dispatcher calls `EventRunner.start` for sync controllers, whose result is there at once or when their future is
done, and `EventRunner.handle` for all others, as the testing kit does. Neither raises what a controller raised: it is
logged once, in a line of bounded size (see `parley.common.process.log_limits`), and the client is told a code:

| raised | code |
|---|---|
| `Reject` | its own code |
| nothing, but the sender may read only, or their token is for something else | `suspended`, `forbidden` |
| `Unsendable`, by emitting or acking what a client had sent | `invalid_payload` |
| cancelled at its deadline, after the route's seconds | `timeout` |
| nothing, but the connection's data became too large | `payload_too_large` |
| nothing, but middleware did not let it through | `forbidden` |
| nothing, but there is no controller | `unknown_event` |
| anything else, or a result that cannot be an ack | `internal` |
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from logging import DEBUG, WARNING
from typing import Any, Generic, TypeVar, cast

import msgspec
from prometheus_client import Counter

from parley.common.errors import Code, Reject
from parley.common.wire.binary import Unsendable
from parley.framework.routing.middleware import compose
from parley.framework.routing.router import LIFECYCLE, Route, Router
from parley.framework.serving.deadlines import ControllerDeadlines
from parley.framework.serving.event_result import EventResult
from parley.framework.serving.invocation import Invocation

KeyT = TypeVar("KeyT")

EVENTS = Counter("parley_service_events_total", "Events handled by outcome", ["namespace", "event", "outcome"])

TIMEOUT = 5.0
"""Seconds that a controller may take, unless its route says otherwise. By default a gateway waits no longer either."""
SWEEP_INTERVAL = 0.25
"""Seconds between two sweeps, and so by how much a controller may exceed its deadline."""
MAX_RESULT_BYTES = 512 * 1024
"""Bytes of an ack at most, so that it fits a NATS message."""


OnResult = Callable[[Invocation[Any], KeyT, EventResult], object]
"""A callback for the outcome of an event that was started. The key is what the caller passed to `start`."""


class _Started(msgspec.Struct, Generic[KeyT]):
    """An event whose sync controller has returned a future that is not done."""

    invocation: Invocation[Any]
    route: Route
    key: KeyT
    on_result: OnResult[KeyT]


class EventRunner:
    """Runs the events of one namespace."""

    def __init__(self, router: Router[Any]) -> None:
        self._router = router
        self._waits_around = bool(router.packet_middleware)
        """Whether there is packet middleware: it has to be awaited, so its namespace's controllers need a task."""
        self._started: dict[asyncio.Future[Any], _Started[Any]] = {}
        self._closed = False
        self._handle = compose(router.packet_middleware, self._call_controller)
        self._counts: defaultdict[tuple[str, str], int] = defaultdict(int)
        """How many events had which outcome since the last sweep: a metric's update costs more than most events."""
        self._deadlines = ControllerDeadlines()

    # -- sync controllers -----------------------------------------------------------------------------------------

    def may_start(self, event: str, *, alone: bool) -> bool:
        """Whether `start` may run an event: `alone`, or with other events of its connection in the same batch.

        Middleware and the `error` controller have to be awaited, so where there are any, no event may be started.
        """
        routes = self._router.routes
        route = routes.get(event)
        return (
            route is not None
            and route.sync
            and (alone or route.pipelined)
            and not self._waits_around
            and event not in LIFECYCLE
            and "error" not in routes
        )

    def start(self, invocation: Invocation[Any], key: KeyT, on_result: OnResult[KeyT], now: float) -> None:
        """Run a sync controller. `on_result` is called before this returns, or when the controller's future is done.

        `now` is the time in seconds of `time.monotonic`, asked for once for many events.
        """
        route = self._router.routes[invocation.event]
        try:
            self._require_permission(invocation, route)
            result = route.controller(invocation, *route.arguments(*invocation.encoded_args))
        # `CancelledError` too: it is what the result of a cancelled future raises, and nobody cancels a callback.
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - whatever it is, the client is told a code
            self._end(invocation, key, on_result, self._refusal(invocation, error))
            return
        if (future := _as_future(result)) is not None:
            if future in self._started:
                # Several controllers may return one future; each needs an entry, and a cancellation, of its own.
                future = asyncio.shield(future)
            self._started[future] = _Started(invocation, route, key, on_result)
            self._deadlines.watch(future, now + _seconds(route))
            future.add_done_callback(self._done)
            return
        invocation.succeed(result, binary=route.binary_result)
        self._end(invocation, key, on_result, None)

    def close(self) -> None:
        """Cancel the futures that sync controllers returned. No outcome is reported for them."""
        self._closed = True
        for future in list(self._started):
            future.cancel()

    def _done(self, future: asyncio.Future[Any]) -> None:
        started = self._started.pop(future)
        invocation, route = started.invocation, started.route
        was_late = self._deadlines.forget(future)
        rejection: Reject | None = None
        try:
            invocation.succeed(future.result(), binary=route.binary_result)
        except asyncio.CancelledError as error:
            if self._closed:
                return
            rejection = _timed_out(invocation, route) if was_late else self._refusal(invocation, error)
        except Exception as error:  # noqa: BLE001 - as in `start`
            rejection = self._refusal(invocation, error)
        self._end(invocation, started.key, started.on_result, rejection)

    def _end(self, invocation: Invocation[Any], key: KeyT, on_result: OnResult[KeyT], rejection: Reject | None) -> None:
        outcome, code = self._outcome(invocation, rejection or _data_refusal(invocation))
        # Handed to Prometheus by the sweep, since its counters take a lock each time.
        self._counts[invocation.event, code] += 1
        on_result(invocation, key, outcome)

    # -- all others ------------------------------------------------------------------------------------------------

    async def handle(self, invocation: Invocation[Any], task: asyncio.Task[Any] | None = None) -> EventResult:
        """Run middleware and controller and return the outcome. What is refused is reported to the `error` controller.

        `task` is the current task, for callers that know it: `asyncio.current_task` makes a system call in Python 3.11.
        """
        task = task or asyncio.current_task()
        assert task is not None  # noqa: S101 - for the type checker
        rejection = await self._run(invocation, task)
        outcome, code = self._outcome(invocation, rejection)
        # A client may send any event name, and each label value would be kept for ever.
        self._counts[invocation.event if invocation.event in self._router.routes else "", code] += 1
        if rejection is not None and "error" in self._router.routes and invocation.event not in LIFECYCLE:
            await self._tell_error_controller(invocation, rejection, task)
        return outcome

    async def _tell_error_controller(
        self, invocation: Invocation[Any], rejection: Reject, task: asyncio.Task[Any]
    ) -> None:
        try:
            event = invocation.error_event({"event": invocation.event, **rejection.as_dict()})
        except (TypeError, ValueError, msgspec.MsgspecError, RecursionError):
            return  # the rejection's `data` is not JSON; that it was rejected is in the log already
        # What the `error` controller itself raises is logged by `_run` and goes nowhere else.
        await self._run(event, task)

    def _outcome(self, invocation: Invocation[Any], rejection: Reject | None) -> tuple[EventResult, str]:
        """Return the outcome of an event, and the label under which it is counted."""
        try:
            if invocation.own_ack is not None:
                payload, attachments = invocation.own_ack
                outcome, code = EventResult(payload, True, attachments), "accepted"
            elif rejection is not None:
                outcome, code = EventResult.refused(rejection), str(rejection.code)
            else:
                outcome = EventResult.accepted(invocation.result, binary=invocation.may_hold_binary)
                code = "accepted"
        except Unsendable as error:
            refusal = self._refusal(invocation, error)
            return EventResult.refused(refusal), str(refusal.code)
        except (TypeError, ValueError, msgspec.MsgspecError, RecursionError):
            invocation.log.exception("a result that cannot be an ack")
            return _FAILED
        size = len(outcome.payload)
        if outcome.attachments:
            size += sum(map(len, outcome.attachments))
        if size > MAX_RESULT_BYTES:
            invocation.log.error("outcome too large", bytes=size)
            return _FAILED
        return outcome, code

    async def _run(self, invocation: Invocation[Any], task: asyncio.Task[Any]) -> Reject | None:
        """Run the middleware and the controller until their deadline. Return the refusal, or None when it went well."""
        route = self._router.routes.get(invocation.event)
        handle = self._call_controller if invocation.event in LIFECYCLE else self._handle
        # No context manager: to make, enter and leave one for each event costs more than this.
        self._deadlines.watch(task, time.monotonic() + _seconds(route))
        try:
            if route is not None and invocation.event not in LIFECYCLE:
                self._require_permission(invocation, route)
            await handle(invocation)
        except BaseException as error:
            if self._deadlines.release(task) and isinstance(error, asyncio.CancelledError):
                return _timed_out(invocation, route)
            if not isinstance(error, Exception):
                raise
            return self._refusal(invocation, error)
        self._deadlines.release(task)
        return self._unanswered(invocation) or _data_refusal(invocation)

    def _require_permission(self, invocation: Invocation[Any], route: Route) -> None:
        """Raise `Reject` for an event that its sender may not send: they read only, or their token is not for it."""
        identity = invocation.identity
        if identity.suspended or identity.scopes is not None:
            refusal = identity.refusal(self._router.area, writes=route.writes, own=route.own)
            if refusal is not None:
                raise refusal

    async def _call_controller(self, invocation: Invocation[Any]) -> None:
        """Run an event's controller, if there is one, and set its result; the innermost function of the middleware."""
        invocation.let_through = True
        route = self._router.routes.get(invocation.event)
        if route is None:
            return
        if invocation.event in LIFECYCLE and not route.signature.variadic:
            # Controllers of lifecycle events may leave out arguments that they do not need.
            invocation.args = invocation.args[: len(route.signature.types)]
        result = route.controller(invocation, *route.arguments(*invocation.encoded_args))
        if not route.sync:
            result = await result
        if (future := _as_future(result)) is not None:
            result = await future
        invocation.succeed(result, binary=route.binary_result)

    @staticmethod
    def _refusal(invocation: Invocation[Any], error: BaseException) -> Reject:
        """Log what a controller, or the middleware around it, has raised, and return the refusal for the client."""
        # No client hears of a lifecycle event's refusal, so it is worth a line in the log.
        level = WARNING if invocation.event in LIFECYCLE else DEBUG
        if isinstance(error, Reject):
            invocation.log.log(level, "rejected", code=str(error.code), message=error.message)
            return error
        if isinstance(error, Unsendable):
            invocation.log.log(level, "arguments that cannot be sent", message=str(error))
            return Reject(Code.INVALID_PAYLOAD, f"{invocation.event[:64]}: {error}")
        invocation.log.exception("controller failed")  # noqa: LOG004 - called by their exception handlers
        return Reject(Code.INTERNAL)

    def _unanswered(self, invocation: Invocation[Any]) -> Reject | None:
        """Return the refusal of an event that nobody handled: it must not be acked as if something had been done."""
        if invocation.own_ack is not None or invocation.result is not None or invocation.event in LIFECYCLE:
            return None
        if not invocation.let_through:
            return invocation.not_let_through()
        if invocation.event not in self._router.routes:
            return Reject(Code.UNKNOWN_EVENT, f"{invocation.namespace} has no event {invocation.event[:64]!r}.")
        return None

    async def run_sweep(self) -> None:
        """Cancel controllers that take too long and update the metrics, for ever."""
        while True:
            await asyncio.sleep(SWEEP_INTERVAL)
            counts, self._counts = self._counts, defaultdict(int)
            for (event, outcome), count in counts.items():
                EVENTS.labels(self._router.namespace, event, outcome).inc(count)
            self._deadlines.cancel_late(time.monotonic())


def _seconds(route: Route | None) -> float:
    return TIMEOUT if route is None or route.timeout is None else route.timeout


_FAILED = EventResult.refused(Reject(Code.INTERNAL)), str(Code.INTERNAL)
"""The outcome of an event whose result cannot be sent, and its label."""


def _data_refusal(invocation: Invocation[Any]) -> Reject | None:
    """Return the refusal of an event that put too much into the connection's data."""
    try:
        invocation.check_data()
    except Reject as rejection:
        invocation.log.warning("rejected", code=str(rejection.code), message=rejection.message)
        return rejection
    return None


def _timed_out(invocation: Invocation[Any], route: Route | None) -> Reject:
    """Log that a controller was cancelled at its deadline, and return the refusal for the client."""
    invocation.log.error("controller took too long and was cancelled", seconds=_seconds(route))
    return Reject(Code.TIMEOUT)


def _as_future(result: Any) -> asyncio.Future[Any] | None:
    """Return the future of a controller's result, or None when `result` is the result. A coroutine becomes a task."""
    if isinstance(result, asyncio.Future):
        return cast("asyncio.Future[Any]", result)
    # Nearly all results are structs or dicts; asking any object whether it is awaitable costs more than the rest.
    if result is None or isinstance(result, msgspec.Struct | dict) or not inspect.isawaitable(result):
        return None
    return asyncio.ensure_future(_awaited(result))


async def _awaited(result: Awaitable[Any]) -> Any:
    """Await what a sync controller returned; it may be an async function's call whose result is a future again."""
    resolved = await result
    return await cast("asyncio.Future[Any]", resolved) if isinstance(resolved, asyncio.Future) else resolved
