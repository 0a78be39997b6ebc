"""Runs the middleware and the controller of an event and tells its outcome, whatever they raise.

The dispatcher calls `EventRunner.start` for plain controllers, whose result is there at once or with their future, and
`EventRunner.handle` for all others, as the testing kit does. What fails is logged once, in a line of
bounded size (see `parley.common.process.logs`), and the client is told one of the codes:

| raised | told |
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
from parley.framework.serving.deadlines import ControllerDeadlines, DeadlineExceeded
from parley.framework.serving.event_result import EventResult
from parley.framework.serving.invocation import Invocation

KeyT = TypeVar("KeyT")

EVENTS = Counter("parley_service_events_total", "Events handled by outcome", ["namespace", "event", "outcome"])

TIMEOUT = 5.0
"""Seconds a controller may take, unless its route says otherwise. By default the gateway waits no longer either."""
SWEEP_INTERVAL = 0.25
MAX_RESULT_BYTES = 512 * 1024
"""The largest outcome that fits a broker message."""


OnResult = Callable[[Invocation[Any], KeyT, EventResult], object]
"""Called with the result of an event that was started, and with what the caller knows it by."""


class _Started(msgspec.Struct, Generic[KeyT]):
    """An event whose plain controller returned a future."""

    invocation: Invocation[Any]
    route: Route
    key: KeyT
    on_result: OnResult[KeyT]


class EventRunner:
    """Runs the events of one namespace."""

    def __init__(self, router: Router[Any]) -> None:
        self._router = router
        self._waits_around = bool(router.packet_middleware)
        """Whether middleware surrounds the controllers, which has to be awaited."""
        self._started: dict[asyncio.Future[Any], _Started[Any]] = {}
        """Futures that plain controllers returned and that are not done."""
        self._closed = False
        self._handle = compose(router.packet_middleware, self._call_controller)
        self._counts: defaultdict[tuple[str, str], int] = defaultdict(int)
        """Events by outcome since the last sweep: updating a metric costs more than most events do."""
        self._deadlines = ControllerDeadlines()

    # -- plain controllers -----------------------------------------------------------------------------------------

    def may_start(self, event: str, *, alone: bool) -> bool:
        """Whether `start` may run an event: `alone`, or while others of its connection are under way.

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

    def start(self, invocation: Invocation[Any], key: KeyT, on_result: OnResult[KeyT], now: float) -> None:
        """Run a plain controller. `on_result` is called at once or, without a task, when its future is done."""
        route = self._router.routes[invocation.event]
        invocation.let_through = True
        try:
            self._require_permission(invocation, route)
            result = route.controller(invocation, *route.arguments(*invocation.encoded_args))
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - whatever it is, the client is told a code
            self._end(invocation, key, on_result, self._refusal(invocation, error))
            return
        if (future := _as_future(result)) is not None:
            if future in self._started:
                future = asyncio.shield(future)  # one that several events wait for
            self._started[future] = _Started(invocation, route, key, on_result)
            self._deadlines.watch(future, now + _seconds(route))
            future.add_done_callback(self._done)
            return
        invocation.succeed(result, binary=route.binary_result)
        self._end(invocation, key, on_result, None)

    def close(self) -> None:
        """Cancel what plain controllers wait for; nobody is told an outcome."""
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
        except Exception as error:  # noqa: BLE001 - as in `begin`
            rejection = self._refusal(invocation, error)
        self._end(invocation, started.key, started.on_result, rejection)

    def _end(self, invocation: Invocation[Any], key: KeyT, on_result: OnResult[KeyT], rejection: Reject | None) -> None:
        outcome, code = self._outcome(invocation, rejection or _data_refusal(invocation))
        self._counts[invocation.event, code] += 1
        on_result(invocation, key, outcome)

    # -- all others ------------------------------------------------------------------------------------------------

    async def handle(self, invocation: Invocation[Any], task: asyncio.Task[Any] | None = None) -> EventResult:
        """Handle an event and return its outcome. It tells the namespace's `error` controller of what fails.

        `task` is the current one, for callers that know it: asking is a system call on Python 3.11.
        """
        task = task or asyncio.current_task()
        assert task is not None  # noqa: S101 - for the type checker
        rejection = await self._run(invocation, task)
        outcome, code = self._outcome(invocation, rejection)
        # Clients make up names of events, which are no labels.
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
            return  # the rejection's own data is no JSON, which is in the log already
        # What fails in the `error` controller itself is logged, and told nobody.
        await self._run(event, task)

    def _outcome(self, invocation: Invocation[Any], rejection: Reject | None) -> tuple[EventResult, str]:
        """The outcome to send, and the label that counts it."""
        try:
            if invocation.answer is not None:
                payload, attachments = invocation.answer
                outcome, code = EventResult(payload, True, attachments), "accepted"
            elif rejection is not None:
                outcome, code = EventResult.refused(rejection), str(rejection.code)
            else:
                binary = invocation.result is not invocation.plain_result
                outcome, code = EventResult.accepted(invocation.result, binary=binary), "accepted"
        except Unsendable as error:
            refusal = _unsendable(invocation, error)
            return EventResult.refused(refusal), str(refusal.code)
        except (TypeError, ValueError, msgspec.MsgspecError, RecursionError):
            invocation.log.exception("a result that cannot be an ack")
            return EventResult.refused(Reject(Code.INTERNAL)), str(Code.INTERNAL)
        size = len(outcome.payload)
        if outcome.attachments:
            size += sum(map(len, outcome.attachments))
        if size > MAX_RESULT_BYTES:
            invocation.log.error("outcome too large", bytes=size)
            return EventResult.refused(Reject(Code.INTERNAL)), str(Code.INTERNAL)
        return outcome, code

    async def _run(self, invocation: Invocation[Any], task: asyncio.Task[Any]) -> Reject | None:
        """Run the middleware and the controller, for as long as they may take. Return the refusal, if there is one."""
        route = self._router.routes.get(invocation.event)
        try:
            with self._deadlines.guard(task, time.monotonic() + _seconds(route)):
                if invocation.event in LIFECYCLE:
                    await self._call_controller(invocation)
                else:
                    if route is not None:
                        self._require_permission(invocation, route)
                    await self._handle(invocation)
        except DeadlineExceeded:
            return _timed_out(invocation, route)
        except Exception as error:  # noqa: BLE001 - whatever it is, the client is told a code
            return self._refusal(invocation, error)
        return self._unanswered(invocation) or _data_refusal(invocation)

    def _require_permission(self, invocation: Invocation[Any], route: Route) -> None:
        """Raise `Reject` for an event that its sender may not send: they read only, or their token is not for it."""
        identity = invocation.identity
        if identity.suspended or identity.scopes is not None:
            refusal = identity.refusal(self._router.area, writes=route.writes)
            if refusal is not None:
                raise refusal

    async def _call_controller(self, invocation: Invocation[Any]) -> None:
        """Run an event's controller, inside of all middleware, if there is one, and take its result."""
        invocation.let_through = True
        route = self._router.routes.get(invocation.event)
        if route is None:
            return
        if invocation.event in LIFECYCLE and not route.signature.variadic:
            # Controllers of lifecycle events may leave out arguments that they do not need.
            invocation.args = invocation.args[: len(route.signature.types)]
        result = route.controller(invocation, *route.arguments(*invocation.encoded_args))
        if not route.plain:
            result = await result
        if (future := _as_future(result)) is not None:
            result = await future
        invocation.succeed(result, binary=route.binary_result)

    @staticmethod
    def _refusal(invocation: Invocation[Any], error: BaseException) -> Reject:
        """What the client is told of what a controller, or the middleware around it, has just raised."""
        if isinstance(error, Reject):
            # No client is told of what happens in lifecycle events, so the log is.
            level = WARNING if invocation.event in LIFECYCLE else DEBUG
            invocation.log.log(level, "rejected", code=str(error.code), message=error.message)
            return error
        if isinstance(error, Unsendable):
            return _unsendable(invocation, error)
        invocation.log.exception("controller failed")  # noqa: LOG004 - called by their exception handlers
        return Reject(Code.INTERNAL)

    def _unanswered(self, invocation: Invocation[Any]) -> Reject | None:
        """Return the refusal of an event that nobody handled: what was not done may not be acked as if it were."""
        if invocation.answer is not None or invocation.result is not None or invocation.event in LIFECYCLE:
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


def _unsendable(invocation: Invocation[Any], error: Unsendable) -> Reject:
    level = WARNING if invocation.event in LIFECYCLE else DEBUG
    invocation.log.log(level, "arguments that cannot be sent", message=str(error))
    return Reject(Code.INVALID_PAYLOAD, f"{invocation.event[:64]}: {error}")


def _data_refusal(invocation: Invocation[Any]) -> Reject | None:
    """Return the refusal of an event that put too much into the connection's data."""
    try:
        invocation.check_data()
    except Reject as rejection:
        invocation.log.warning("rejected", code=str(rejection.code), message=rejection.message)
        return rejection
    return None


def _timed_out(invocation: Invocation[Any], route: Route | None) -> Reject:
    """What the client is told of a controller that was cancelled at its deadline."""
    invocation.log.error("controller took too long and was cancelled", seconds=_seconds(route))
    return Reject(Code.TIMEOUT)


def _as_future(result: Any) -> asyncio.Future[Any] | None:
    """What a controller returned as a future; None when it is the result itself. A coroutine is run as a task."""
    if isinstance(result, asyncio.Future):
        return cast("asyncio.Future[Any]", result)
    # Nearly all results are structs or dicts; asking any object whether it is awaitable costs more than the rest.
    if result is None or isinstance(result, msgspec.Struct | dict) or not inspect.isawaitable(result):
        return None
    return asyncio.ensure_future(_awaited(result))


async def _awaited(result: Awaitable[Any]) -> Any:
    resolved = await result
    return await cast("asyncio.Future[Any]", resolved) if isinstance(resolved, asyncio.Future) else resolved
