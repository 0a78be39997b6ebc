"""Runs connection middleware around one connection, from before it is admitted until after it is gone.

A service's `GatewayResponder` makes one for each connection if it has connection middleware, and a gateway does for its
own. Middleware is one suspended coroutine for as long as the connection lasts, so each lifetime has a task, which its
owner starts with `run`. The owner calls everything else, on the same loop.

| state | input | next |
|---|---|---|
| being admitted | the core function returns | admitted: `admitted` returns; the middleware waits in `call_next` |
| being admitted | middleware returns, raises or is cancelled | refused: `admitted` raises `Reject` |
| being admitted | `admitted` has waited too long, or is cancelled | refused; the middleware is cancelled |
| admitted | `leave` | ending: the code after `call_next` runs; a `Reject` of it is only logged |
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from parley.common.errors import Code, Reject
from parley.common.process.logs import get_logger
from parley.common.wire.binary import Unsendable
from parley.common.wire.connections import ConnectionClosed
from parley.framework.routing.connection_context import ConnectionContext
from parley.framework.routing.middleware import ConnectionMiddleware, compose

log = get_logger(__name__)

Core = Callable[[ConnectionContext[Any]], Awaitable[None]]
"""The innermost function, inside of all middleware. It may raise `Reject` to refuse the connection."""


class ConnectionLifetime:
    """The run of the connection middleware for one connection."""

    def __init__(self, middleware: Sequence[ConnectionMiddleware], context: ConnectionContext[Any], core: Core) -> None:
        self._context = context
        self._core = core
        self._admitted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._gone: asyncio.Future[ConnectionClosed] = asyncio.get_running_loop().create_future()
        self._run = compose(middleware, self._inside)
        self._task: asyncio.Task[Any] | None = None

    async def run(self) -> None:
        """Run the middleware to its end, which is after the connection is gone. The owner starts it as a task."""
        self._task = asyncio.current_task()
        try:
            await self._run(self._context)
            self._refuse(Reject(Code.FORBIDDEN, "This connection was not let in."))
        except Reject as rejection:
            self._refuse(rejection)
        except Unsendable as error:
            # Middleware emitted something that the client had put into its handshake.
            self._refuse(Reject(Code.INVALID_PAYLOAD, str(error)))
        except asyncio.CancelledError:
            self._refuse(Reject(Code.UNAVAILABLE))
            raise
        except Exception:
            log.exception("connection middleware failed", namespace=self._context.namespace, sid=self._context.sid)
            # Not retryable: the client would come back with the same handshake and fail again.
            self._refuse(Reject(Code.INTERNAL, retryable=False))

    async def admitted(self, timeout: float) -> None:
        """Wait until the middleware admits the connection. Raises `Reject` when it refuses it or takes too long."""
        try:
            async with asyncio.timeout(timeout):
                # Shielded: the timeout would else cancel the future that the middleware is about to set.
                await asyncio.shield(self._admitted)
        except BaseException as error:
            self.cancel()
            if isinstance(error, TimeoutError):
                raise Reject(Code.TIMEOUT) from error
            raise

    def cancel(self) -> None:
        """Cancel the middleware: nobody waits for the connection any more."""
        if self._task is not None:
            self._task.cancel()

    def leave(self, closed: ConnectionClosed) -> None:
        """Have the rest of the middleware run, because the connection is gone. Only the first call counts."""
        if not self._gone.done():
            self._gone.set_result(closed)

    async def _inside(self, context: ConnectionContext[Any]) -> None:
        await self._core(context)
        context.open = True
        if not self._admitted.done():
            self._admitted.set_result(None)
        context.mark_gone(await self._gone)

    def _refuse(self, rejection: Reject) -> None:
        if not self._admitted.done():
            self._admitted.set_exception(rejection)
            # Marks it as retrieved: nobody may be waiting any more, and asyncio would log an error.
            self._admitted.exception()
        elif rejection.code is not Code.FORBIDDEN:
            log.info("refused after it was gone", sid=self._context.sid, code=str(rejection.code))
