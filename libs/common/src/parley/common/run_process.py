"""Runs a service as a process: `--help` lists every setting, mistakes are told in a line, uvicorn serves until SIGTERM.

Gateway, auth and chat call `main`, `parley run` calls `serve`; the testing kit and the single-port stack take the
server alone. A start is in this order: settings, logs, app, server. A stop drains the app before connections are cut.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import resource
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

import uvicorn
from fastapi import FastAPI
from pydantic import ValidationError
from starlette.datastructures import State
from uvicorn.config import STARTUP_FAILURE

from parley.common.errors import Reject
from parley.common.http.connection.server import http_options
from parley.common.http.listening import bind, listeners
from parley.common.nats.liveness import NameTaken
from parley.common.process import logs
from parley.common.process.settings import SecretFile, ServiceSettings, UnsafeSettings, misspelt_settings, name_refused

STOP_POLL = 0.1
"""Seconds between two looks for a stop signal while the app starts."""

YOUNG_OBJECTS = 10_000
"""Objects that are made before the youngest are searched for cycles: a batch makes Python's own 700 several times."""

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
    """Answer `--help`, or `serve` with these arguments."""
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
    """Read the settings, make the app and serve it until SIGTERM.

    Exceptions of the types in `refusals` that `create_app` raises are mistakes in the configuration, and are told in a
    line. `options` are uvicorn's.
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
    # uvicorn raises the signal again once it has shut down in order; to end on SIGTERM is success.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(0))
    logs.get_logger(__name__).info("starting", host=settings.host, port=settings.port)
    server = DrainingServer(server_config(app, settings, options), app.state)
    _refuse_in_a_line(app)
    # Modules and models live as long as the process, so no collection has to look at them. It did so for a tenth of the
    # time of a busy service.
    gc.collect()
    gc.freeze()
    # The objects of a message are freed by reference counting when it is acked; a search for cycles in them is in vain.
    gc.set_threshold(YOUNG_OBJECTS)
    with suppress(KeyboardInterrupt):
        server.run()
    # As uvicorn's own command does: `Server.run` returns normally when the app could not start.
    if not server.started and not server.should_exit:
        sys.exit(STARTUP_FAILURE)


def server_config(app: Any, settings: ServiceSettings, options: Mapping[str, Any]) -> uvicorn.Config:
    """Return the configuration of uvicorn for an app with these settings. `options` are uvicorn's own.

    HTTP is read within Parley's limits, log lines are Parley's, and a stop waits at most 5 s for answers under way.
    """
    everything: dict[str, Any] = {
        "host": settings.host, "port": settings.port, "ws": "none", "log_config": None, "access_log": False,
        "server_header": False, "timeout_graceful_shutdown": 5, **options,
        # Last: HTTP options among the given ones were made without these settings.
        **http_options(settings.trusted_proxies, keep_alive=settings.http_keep_alive),
    }  # fmt: skip
    return uvicorn.Config(app, **everything)


def _refuse_in_a_line(app: FastAPI) -> None:
    """Log one line, instead of uvicorn's traceback, when the app cannot start.

    The line tells that the name is taken, or what could not be reached. A start that was cancelled needs none.
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
    # uvicorn logs the traceback as one text, so it is recognised by what stands in it.
    expected = (NameTaken.__name__, asyncio.CancelledError.__name__, f"{Reject.__module__}.{Reject.__name__}: ")
    logging.getLogger("uvicorn.error").addFilter(
        lambda record: not any(name in record.getMessage() for name in expected)
    )


class DrainingServer(uvicorn.Server):
    """uvicorn's server, which awaits the app's `state.drain`, if there is one, before it cuts connections.

    The gateway drains its clients there. No new connection is accepted by then, and `drain` may take any time.
    """

    def __init__(self, config: uvicorn.Config, state: State) -> None:
        super().__init__(config)
        self._state = state

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start as uvicorn does, but stop at a signal while the app still waits for NATS or Postgres.

        uvicorn itself would look for signals only once the app has started.
        """
        starting = asyncio.ensure_future(self._start(sockets))
        while not (await asyncio.wait({starting}, timeout=STOP_POLL))[0]:
            if self.should_exit:
                starting.cancel()
                return
        if (code := await starting) is not None:
            sys.exit(code)

    async def _start(self, sockets: list[socket.socket] | None) -> Any:
        """Start. Return the exit code if uvicorn gives up: a `SystemExit` in a task would leave a traceback behind."""
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
        # Before draining, so that new connections find another process.
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
        hidden = "SecretStr" in str(field.annotation) or field.default in ("", None) or field.is_required()
        lines.append(f"  PARLEY_{name.upper()}{'' if hidden else f' [{field.get_default(call_default_factory=True)}]'}")
        if field.description:
            lines.append(f"      {field.description}")
    return "\n".join(lines)


def _allow_many_sockets() -> None:
    """Raise the limit of open files to the hard limit: each connection is an open file."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
