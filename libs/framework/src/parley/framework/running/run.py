"""Runs a service as a process, alone or under a process that restarts it when its code changes (`parley run`)."""

from __future__ import annotations

import shlex
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import watchfiles
from fastapi import FastAPI

from parley.common import run_process
from parley.common.http.api import install_errors
from parley.common.http.cors import install_cors
from parley.common.http.health import health_router
from parley.common.process.settings import ServiceSettings
from parley.framework.service import Service

RELOAD_OPTION = "--reload"
STOP_SECONDS = 10
"""Seconds that a service may take to stop before it is killed and the changed one is started."""


def create_app(service: Service[Any], settings: ServiceSettings) -> FastAPI:
    """Make the HTTP app of a service without an API of its own: `/healthz`, `/readyz` and `/metrics`."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        async with service.running(settings) as running:

            async def bus_ready() -> str | None:
                return running.check()

            # Only here, since the check needs the running service.
            app.include_router(health_router({"bus": bus_ready}))
            yield

    app = FastAPI(title=service.name, lifespan=lifespan, docs_url=None, openapi_url=None)
    install_errors(app)
    install_cors(app, settings)
    return app


def serve(service: Service[Any]) -> None:
    """Run a service as a process until SIGTERM, with the settings of the environment."""
    run_process.serve(service.name, service.settings, lambda settings: create_app(service, settings))


def watch(name: str) -> None:
    """Run the current command without `--reload` in a child process, and again after each change, until a stop signal.

    Only this service restarts. Clients stay connected, since their sockets are the gateway's; what they send meanwhile
    is refused with `unavailable`. The Python files below the working directory are watched, except in tests and in the
    packages of other services.
    """
    here = Path.cwd()
    others = [found.parent for found in here.glob("*/service.py") if found.parent.name != name.partition(".")[0]]
    # `orig_argv` and not `argv`: it has the interpreter's own options as well.
    command = [argument for argument in sys.orig_argv if argument != RELOAD_OPTION]
    watchfiles.run_process(
        here,
        target=shlex.join(command),
        target_type="command",
        watch_filter=watchfiles.PythonFilter(ignore_paths=[here / "tests", *others]),
        sigint_timeout=STOP_SECONDS,
    )
