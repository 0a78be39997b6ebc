"""Middleware around every event, and around a connection's whole life.

    async def only_members(context: Context, call_next: Next) -> None:
        if "member" not in context.identity.roles:
            raise Reject(Code.FORBIDDEN)
        await call_next()

The code before `call_next` runs on the way in, in the order configured, and the code after it on the way out, in
reverse. Middleware that does not call it lets nothing through. A gateway and a service run the same functions: the
gateway around what it forwards to the service, the service around its controllers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from parley.framework.routing.connection_context import ConnectionContext
from parley.framework.routing.context import Context

SubjectT = TypeVar("SubjectT")

Next = Callable[[], Awaitable[None]]
"""Runs the middleware further inside and then the controller. Middleware may call it once."""
PacketMiddleware = Callable[[Context[Any], Next], Awaitable[None]]
"""Middleware around every event. It may read the event, change it, raise `Reject`, or set `result` or `ack`."""
ConnectionMiddleware = Callable[[ConnectionContext[Any], Next], Awaitable[None]]
"""Middleware around a connection's life: before `call_next` it is being admitted, and after it it is gone."""


def compose(
    middleware: Sequence[Callable[[SubjectT, Next], Awaitable[None]]], core: Callable[[SubjectT], Awaitable[None]]
) -> Callable[[SubjectT], Awaitable[None]]:
    """Return one function that runs all the middleware around the core. It is made once per namespace."""
    composed = core
    # From the inside out, so that the first in the list is the outermost.
    for outer in reversed(middleware):
        composed = _around(outer, composed)
    return composed


def _around(
    outer: Callable[[SubjectT, Next], Awaitable[None]], inner: Callable[[SubjectT], Awaitable[None]]
) -> Callable[[SubjectT], Awaitable[None]]:
    # Plain functions that return the coroutine of the next one: each layer would else cost a coroutine more.
    def run(subject: SubjectT) -> Awaitable[None]:
        called = False

        def call_next() -> Awaitable[None]:
            nonlocal called
            if called:
                raise RuntimeError("call_next was called twice")
            called = True
            return inner(subject)

        return outer(subject, call_next)

    return run
