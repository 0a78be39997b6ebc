"""Runs connection middleware around one connection, from before it is let in until after it has gone.

A service's `GatewayResponder` makes one for each connection that it lets in, a gateway for its own middleware.
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
"""The innermost function, inside of all middleware. It raises `Reject` when the connection must not be admitted."""


class ConnectionLifetime:
    """One connection in the middleware: it is admitted at the innermost point and passes out when it has gone."""

    def __init__(self, middleware: Sequence[ConnectionMiddleware], context: ConnectionContext[Any], core: Core) -> None:
        self._context = context
        self._core = core
        self._admitted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._gone: asyncio.Future[ConnectionClosed] = asyncio.get_running_loop().create_future()
        self._run = compose(middleware, self._inside)
        self._task: asyncio.Task[Any] | None = None

    async def run(self) -> None:
        """Run the middleware to its end, which is after the connection has gone. `admitted` waits for the way in."""
        self._task = asyncio.current_task()
        try:
            await self._run(self._context)
            self._refuse(Reject(Code.FORBIDDEN, "This connection was not let in."))
        except Reject as rejection:
            self._refuse(rejection)
        except Unsendable as error:
            # Middleware emitted what the client had put into its handshake.
            self._refuse(Reject(Code.INVALID_PAYLOAD, str(error)))
        except asyncio.CancelledError:
            self._refuse(Reject(Code.UNAVAILABLE))
            raise
        except Exception:
            log.exception("connection middleware failed", namespace=self._context.namespace, sid=self._context.sid)
            # A client that tried again would fail again.
            self._refuse(Reject(Code.INTERNAL, retryable=False))

    async def admitted(self, timeout: float) -> None:
        """Wait until the middleware admits the connection. Raises `Reject` when it refuses, or takes too long."""
        try:
            async with asyncio.timeout(timeout):
                await asyncio.shield(self._admitted)
        except BaseException as error:
            self.cancel()
            if isinstance(error, TimeoutError):
                raise Reject(Code.TIMEOUT) from error
            raise

    def cancel(self) -> None:
        """Stop the middleware: nobody waits for the connection any more."""
        if self._task is not None:
            self._task.cancel()

    def leave(self, closed: ConnectionClosed) -> None:
        """Run the rest of the middleware, because the connection has gone."""
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
            # Whoever asked may have stopped waiting.
            self._admitted.exception()
        elif rejection.code is not Code.FORBIDDEN:
            log.info("refused after it was gone", sid=self._context.sid, code=str(rejection.code))
