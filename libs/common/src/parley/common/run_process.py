"""Running a service as a process: `--help` that lists every setting, one-line refusals, and uvicorn until SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import resource
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

import uvicorn
from fastapi import FastAPI
from pydantic import ValidationError
from starlette.datastructures import State
from uvicorn.config import STARTUP_FAILURE

from parley.common.errors import Reject
from parley.common.http.listening import bind, listeners
from parley.common.http.server import http_options
from parley.common.nats.liveness import NameTaken
from parley.common.process import logs
from parley.common.process.settings import SecretFile, ServiceSettings, UnsafeSettings, misspelt_settings, name_refused

STOP_POLL = 0.1
"""Seconds between looks at whether a signal came while the app starts."""

YOUNG_OBJECTS = 10_000
"""Objects made before the youngest are searched for cycles; Python does it after 700, several times in each batch."""

SettingsT = TypeVar("SettingsT", bound=ServiceSettings)


def main(
    service: str,
    description: str,
    settings_type: type[SettingsT],
    create_app: Callable[[SettingsT], FastAPI],
    *,
    refusals: tuple[type[Exception], ...] = (),
    **options: Any,
) -> None:
    """Answer `--help`, or `serve`."""
    argparse.ArgumentParser(
        prog=f"python -m parley.{service}",
        description=description,
        epilog=usage(settings_type),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ).parse_args()
    serve(service, settings_type, create_app, refusals=refusals, **options)


def serve(
    service: str,
    settings_type: type[SettingsT],
    create_app: Callable[[SettingsT], FastAPI],
    *,
    refusals: tuple[type[Exception], ...] = (),
    **options: Any,
) -> None:
    """Read the settings and serve until SIGTERM.

    What `create_app` raises of `refusals` is a mistake in the configuration, told in a line. `options` are uvicorn's.
    """
    try:
        settings = settings_type()
        settings.refuse_unsafe()
        logs.configure(settings, service)
        app = create_app(settings)
    except ValidationError as error:
        sys.exit(f"{service}: {name_refused(error)}")
    except (SecretFile, UnsafeSettings, *refusals) as error:
        sys.exit(f"{service}: {error}")
    for name, meant in misspelt_settings(settings_type).items():
        logs.get_logger(__name__).warning("unknown setting", name=name, meant=meant)
    _allow_many_sockets()
    # uvicorn raises the signal again once it has shut down in order; ending on SIGTERM is success.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(0))
    logs.get_logger(__name__).info("starting", host=settings.host, port=settings.port)
    server_options: dict[str, Any] = {
        "ws": "none",
        **options,
        **http_options(settings.trusted_proxies, keep_alive=settings.http_keep_alive),
    }
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=5,
        **server_options,
    )
    server = DrainingServer(config, app.state)
    _refuse_in_a_line(app)
    # Modules and models live as long as the process: no collection need look at them, a tenth of a busy service's time.
    gc.collect()
    gc.freeze()
    # What a message makes is gone when it is acked, and looking for cycles in it is in vain.
    gc.set_threshold(YOUNG_OBJECTS)
    with suppress(KeyboardInterrupt):
        server.run()
    if not server.started and not server.should_exit:
        sys.exit(STARTUP_FAILURE)


def _refuse_in_a_line(app: FastAPI) -> None:
    """Spare people uvicorn's traceback of an app that does not start.

    That its name is taken, or that what it needs is away, is said in a line; whoever stopped it knows.
    """
    inner = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncGenerator[Any]:
        try:
            async with inner(app) as state:
                yield state
        except (NameTaken, Reject) as error:
            logs.get_logger(__name__).critical("not started", error=str(error))
            raise

    app.router.lifespan_context = lifespan
    expected = (NameTaken.__name__, asyncio.CancelledError.__name__, f"{Reject.__module__}.{Reject.__name__}: ")
    logging.getLogger("uvicorn.error").addFilter(
        lambda record: not any(name in record.getMessage() for name in expected)
    )


class DrainingServer(uvicorn.Server):
    """uvicorn, but an app that has set `state.drain` parts from its clients before connections are cut.

    By then nothing listens any more; `drain` is awaited however long it takes.
    """

    def __init__(self, config: uvicorn.Config, state: State) -> None:
        super().__init__(config)
        self._state = state

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start as uvicorn does, but give up when a signal asks for it while the app still waits for NATS or Postgres.

        Leaving the loop cancels what the app is doing then.
        """
        starting = asyncio.ensure_future(self._start(sockets))
        while not (await asyncio.wait({starting}, timeout=STOP_POLL))[0]:
            if self.should_exit:
                starting.cancel()
                return
        if (code := await starting) is not None:
            sys.exit(code)

    async def _start(self, sockets: list[socket.socket] | None) -> Any:
        """Start; return the exit code if uvicorn gives up. An exit that leaves a task would print a traceback."""
        try:
            bound = [bind(self.config.host, self.config.port)] if sockets is None else sockets
            await super().startup([listener for each in bound for listener in listeners(each)])
        except OSError as error:
            logs.get_logger(__name__).critical("not started", error=str(error))
            return STARTUP_FAILURE
        except SystemExit as failed:
            return failed.code
        return None

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, drain, then shut down as uvicorn does."""
        for listener in self.servers:
            listener.close()
        drain: Callable[[], Awaitable[None]] | None = getattr(self._state, "drain", None)
        if drain is not None:
            await drain()
        await super().shutdown(sockets)


def usage(settings_type: type[ServiceSettings]) -> str:
    """What `--help` says of the settings."""
    lines = ["settings, from the environment or a .env file; a secret also from the file that its name + _FILE names:"]
    for name, field in settings_type.model_fields.items():
        hidden = "SecretStr" in str(field.annotation) or field.default in {"", None} or field.is_required()
        lines.append(f"  PARLEY_{name.upper()}{'' if hidden else f' [{field.get_default(call_default_factory=True)}]'}")
        if field.description:
            lines.append(f"      {field.description}")
    return "\n".join(lines)


def _allow_many_sockets() -> None:
    """Raise the limit of open files to what this process may have: a connection is a file."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
