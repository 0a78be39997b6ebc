"""Gateway, auth and chat in one process behind one port, as `parley up` runs them, on servers that run already."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import uvloop

from parley.cli.stack.apps import Endpoints, create_apps
from parley.cli.stack.single_port import SinglePort
from parley.cli.stack.stack import serve_http
from parley.cli.stack.stop_signals import StopSignals
from parley.common.http.listening import bind
from parley.common.process import logs
from parley.common.process.settings import ServiceSettings

SERVICES = ("auth", "chat", "gateway")


async def serve(directory: Path, port: int, stops: StopSignals) -> None:
    """Serve until a stop signal."""
    endpoints = Endpoints(
        dict.fromkeys(SERVICES, os.environ["PARLEY_DATABASE_URL"]),
        dict.fromkeys(SERVICES, os.environ["PARLEY_NATS_URL"]),
        os.environ["PARLEY_AUTH_ADMIN_PASSWORD"],
        directory / "erasures.jsonl",
        directory / "uploads",
        page=None,
    )
    services, _ = create_apps(endpoints)
    front = SinglePort(services)
    listener = bind("127.0.0.1", port)
    listener.listen(2048)
    async with front.running():
        await serve_http(front, listener, [], stops)


if __name__ == "__main__":
    logs.configure(ServiceSettings(), "parley")
    with StopSignals() as stops, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(Path(os.environ["BENCH_DIRECTORY"]), int(os.environ["PARLEY_PORT"]), stops))
