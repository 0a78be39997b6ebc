"""Real gateways in the test's loop, on free ports of the loopback interface. `running_server` starts them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Generator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from parley.common.run_process import DrainingServer, server_config
from parley.framework.service import Service
from parley.gateway.app import SERVER_OPTIONS, create_app
from parley.gateway.settings import GatewaySettings


def declare(path: Path, services: Iterable[Service[Any]], more: Mapping[str, Mapping[str, Any]]) -> Path:
    """Write the file of namespaces: those of the services, with the fields in `more` added or replaced."""
    fields: dict[str, dict[str, Any]] = {
        namespace: {"service": service.name} for service in services for namespace in service.routers
    }
    for namespace, further in more.items():
        fields.setdefault(namespace, {}).update(further)
    lines: list[str] = []
    for namespace, values in fields.items():
        lines.append(f"[namespaces.{json.dumps(namespace)}]")
        # The values of a namespace are texts, numbers, booleans and lists, which JSON and TOML write alike.
        lines += [f"{name} = {json.dumps(value)}" for name, value in values.items()]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


@asynccontextmanager
async def serving(names: Sequence[str], namespaces: Path, settings: Mapping[str, Any]) -> AsyncGenerator[list[str]]:
    """Run gateways with these names until the block ends, and yield their URLs."""
    servers: dict[_Server, asyncio.Task[None]] = {}
    for name in names:
        # No time to drain: a test's clients have nowhere else to connect.
        own: dict[str, Any] = {"instance": name, "namespaces_file": namespaces, "gateway_drain_seconds": 0}
        server = _server(GatewaySettings(**(own | dict(settings))))
        servers[server] = asyncio.create_task(server.serve(), name=name)
    try:
        for server, task in servers.items():
            await _started(server, task)
        yield [server.url for server in servers]
    finally:
        for server in servers:
            # All are asked before one is waited for, so that they stop together.
            server.should_exit = True
        await asyncio.gather(*servers.values())


def _server(settings: GatewaySettings) -> _Server:
    app, here = create_app(settings), {"host": "127.0.0.1", "port": 0, "timeout_graceful_shutdown": 2}
    return _Server(server_config(app, settings, {**SERVER_OPTIONS, **here}), app.state)


async def _started(server: _Server, task: asyncio.Task[None]) -> None:
    while not server.started:
        if task.done():
            await task
            raise RuntimeError("a gateway did not start")
        await asyncio.sleep(0.005)


class _Server(DrainingServer):
    """uvicorn's server in the test's loop and process, which keep their signals and do not exit with it."""

    @property
    def url(self) -> str:
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        return f"http://{host}:{port}"

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield

    async def serve(self, sockets: Any = None) -> None:
        try:
            await super().serve(sockets)
        except SystemExit as error:  # it would end the test's loop
            raise RuntimeError("a gateway did not start; the log says why") from error
