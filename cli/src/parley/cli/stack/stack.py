"""The one-command stack: embedded Postgres and NATS, and all services in this process behind one port.

1. Hold the data directory, and take the port.
2. Start Postgres and NATS as child processes, and migrate the database.
3. Start auth, chat and the gateway on one event loop, and the project's services as processes of their own.
4. Print the welcome, and serve until a stop signal, or until one of the embedded servers ends.
5. Stop in reverse.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable, Generator
from contextlib import AsyncExitStack, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import uvicorn
import uvloop
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from uvicorn.server import ServerState

from parley.auth.components import issue_admin_token
from parley.auth.settings import AuthSettings
from parley.chat.settings import ChatSettings
from parley.cli import bundled_files
from parley.cli.database.migrations import upgrade
from parley.cli.database.roles import SERVICES, ensure_roles, role_of
from parley.cli.failure import CommandFailure
from parley.cli.scaffold.namespaces_file import STOCK, choose
from parley.cli.stack import embedded, welcome
from parley.cli.stack.apps import Endpoints, create_apps
from parley.cli.stack.data_directory import DataDirectory
from parley.cli.stack.dev_services import DevProcesses, DevServices, wait_until_served
from parley.cli.stack.nats_users import passwords_for, render, url_of, users_of
from parley.cli.stack.single_port import SinglePort
from parley.cli.stack.stop_signals import StopSignals
from parley.common.http.listening import bind
from parley.common.process import logs
from parley.common.process.settings import ServiceSettings, misspelt_settings, name_refused
from parley.common.process.tasks import Tasks
from parley.common.run_process import DrainingServer, server_config
from parley.common.wire.permissions import Permissions, ServiceAccess, permissions_of
from parley.engineio.websocket.protocol import WebSocket
from parley.gateway.app import SERVER_OPTIONS
from parley.gateway.namespaces import load
from parley.gateway.settings import GatewaySettings

READY_SECONDS = 30.0
SERVED_SECONDS = 15.0
"""Seconds that the welcome waits for the project's services at most."""
LATE_SECONDS = 1.0
"""Seconds between two looks whether a late service has come up."""
TOKEN_SECONDS = 24 * 3600
SCRIPTS = "scripts"
"""The NATS user of whatever this user of the machine runs besides: it emits, and is behind no namespace."""
OWN_USER = "up"
"""The NATS user that looks whether the project's services answer."""


def run(host: str, port: int, data: Path) -> None:
    """Start everything, serve until a stop signal, and stop everything. Raises `CommandFailure`."""
    console = Console(highlight=False, soft_wrap=True)
    started = time.monotonic()
    with StopSignals() as stops, suppress(KeyboardInterrupt), ExitStack() as stack:
        directory = DataDirectory(data)
        stack.enter_context(directory.hold())
        # Before anything is started, so that a taken port costs no database.
        listener = stack.enter_context(_listen(host, port))
        _configure_logs()
        for name, meant in misspelt_settings(AuthSettings, ChatSettings, GatewaySettings).items():
            console.print(f"[yellow]{escape(name)} is no setting:[/] did you mean {meant}?")
        password, is_new = directory.read_or_make_password()
        endpoints = _start_parts(console, stack, directory, password, stops)

        def greet(token: str, project: DevServices) -> None:
            welcome.show(
                console,
                url=_url(listener),
                token=token,
                password=password if is_new else None,
                password_file=directory.admin_password,
                page=endpoints.page is not None,
                registration=AuthSettings().auth_registration,
                seconds=time.monotonic() - started,
            )
            if set(project.namespaces.values()) - STOCK:
                welcome.show_project(console, project, endpoints.nats_urls)
            console.print("\nCtrl-C stops everything.")

        # Held, because the event loop stops by itself once it sees that a stop was requested.
        with stops.held(), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(console, listener, endpoints, directory.services, stops, greet))
    with suppress(OSError):  # the terminal may be the reason to stop, and gone
        console.print("Stopped.")


@contextmanager
def _step(console: Console, doing: str) -> Generator[None]:
    """Show what is being done while it is being done, and then how long it took."""
    started = time.monotonic()
    with console.status(f"{doing}…"):
        yield
    console.print(f"[green]✓[/] {doing} [dim]{time.monotonic() - started:.1f} s[/]")


def _listen(host: str, port: int) -> socket.socket:
    """Take the port before anything is started. Raises `CommandFailure` if it is taken or the address is not ours."""
    try:
        listener = bind(host, port)
        # Clients of a stack that is restarted wait here until it serves, instead of being refused.
        listener.listen(2048)
    except OSError as error:
        raise CommandFailure(f"cannot listen on {host} port {port}: {error.strerror}; --port takes another") from error
    return listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    if host in {"0.0.0.0", "::"}:  # noqa: S104 - compared, not bound
        host = "localhost"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _log_settings() -> tuple[ServiceSettings, bool]:
    """Return the log settings for a terminal, and whether `PARLEY_LOG_LEVEL` is set. Raises `CommandFailure`."""
    try:
        settings = ServiceSettings(log_format="console")
    except ValidationError as error:
        raise CommandFailure(name_refused(error)) from error
    return settings, "log_level" in settings.model_fields_set


def _configure_logs() -> None:
    """Show Parley's warnings and everything that middleware and controllers log, or what `PARLEY_LOG_LEVEL` says."""
    settings, asked = _log_settings()
    logs.configure(settings, "parley")
    if not asked:
        logging.getLogger().setLevel(logging.WARNING)
        logging.getLogger(logs.CONTEXTS).setLevel(logging.INFO)
    logging.captureWarnings(capture=True)


def _start_parts(
    console: Console, stack: ExitStack, directory: DataDirectory, password: str, stops: StopSignals
) -> Endpoints:
    first = not directory.postgres.exists()
    with _step(console, "Creating the database" if first else "Starting Postgres"):
        database_url = stack.enter_context(embedded.postgres(directory.postgres))
    with _step(console, "Starting NATS"):
        nats_urls = _start_nats(stack, directory)
    with _step(console, "Migrating the database"), stops.held():
        upgrade(database_url)
        # They have no passwords: the socket is for this user alone.
        asyncio.run(ensure_roles(database_url, dict.fromkeys(SERVICES, "")))
    roles = {service: database_url.replace("postgres@", f"{role_of(service)}@", 1) for service in SERVICES}
    return Endpoints(
        {"owner": database_url, **roles},
        nats_urls,
        password,
        directory.erasures,
        directory.uploads,
        bundled_files.page(),
    )


def _start_nats(stack: ExitStack, directory: DataDirectory) -> dict[str, str]:
    """Run NATS with the permissions of production, and return its URL for each user."""
    try:
        namespaces_file = choose(GatewaySettings().namespaces_file)
    except ValidationError as error:
        raise CommandFailure(name_refused(error)) from error
    users = users_of(namespaces_file)
    everywhere = tuple(load(namespaces_file))
    users[SCRIPTS] = permissions_of(SCRIPTS, ServiceAccess(emits=everywhere))
    # A question that every service answers, and that changes nothing.
    users[OWN_USER] = permissions_of(OWN_USER, ServiceAccess()) + Permissions(("heads.*",), ())
    passwords = passwords_for(users)
    url = stack.enter_context(embedded.nats(directory.nats, configuration=render(users, passwords)))
    urls = {user: url_of(url, user, password) for user, password in passwords.items()}
    directory.write_nats_url(urls[SCRIPTS])
    return urls


async def _serve(
    console: Console,
    listener: socket.socket,
    endpoints: Endpoints,
    record: Path,
    stops: StopSignals,
    greet: Callable[[str, DevServices], None],
) -> None:
    # Before the project's services are started, which are children of this process too.
    embedded_servers = psutil.Process().children()
    async with AsyncExitStack() as stack:
        with _step(console, "Starting the services"):
            services, project = create_apps(endpoints)
            # One event loop for all: the services speak over NATS here too, so nothing differs from production but the
            # process.
            front = SinglePort(services)
            await stack.enter_async_context(front.running())
            await _until_ready(front)
        processes = DevProcesses(console, _environment(endpoints), endpoints.nats_urls, record)
        await stack.enter_async_context(processes.run(project.here))
        if project.here:
            with _step(console, f"Starting {', '.join(project.here)}"):
                await wait_until_served(
                    project, processes, endpoints.nats_urls[OWN_USER], lambda: stops.requested, SERVED_SECONDS
                )
        if stops.requested:
            return
        greet(await issue_admin_token(services["auth"], TOKEN_SECONDS), project)
        async with Tasks() as tasks:
            if project.not_ready:
                tasks.spawn(_tell_when_served(console, project, processes, endpoints, stops), name="wait for services")
            await serve_http(front, listener, embedded_servers, stops)
        with suppress(OSError):
            console.print("\nStopping…")


async def _tell_when_served(
    console: Console, project: DevServices, processes: DevProcesses, endpoints: Endpoints, stops: StopSignals
) -> None:
    """Say that a service has come up after the welcome said that it does not answer yet."""
    while (late := sorted(project.not_ready)) and not stops.requested:
        # A service that has failed is looked at again and again, because its code may be changed.
        await asyncio.sleep(LATE_SECONDS)
        nats_url = endpoints.nats_urls[OWN_USER]
        await wait_until_served(project, processes, nats_url, lambda: stops.requested, LATE_SECONDS)
        for name in late:
            if name not in project.not_ready:
                console.print(f"[green]✓[/] {escape(name)} on {escape(', '.join(project.of(name)))} answers now")


def _environment(endpoints: Endpoints) -> dict[str, str]:
    """Return the environment of the project's services: where everything is, and to log for a terminal."""
    settings, _ = _log_settings()
    return {
        "PARLEY_DATABASE_URL": endpoints.database_urls["owner"],
        "PARLEY_PORT": "0",
        "PARLEY_LOG_LEVEL": settings.log_level,
        "PARLEY_LOG_FORMAT": settings.log_format,
    }


async def _until_ready(front: SinglePort) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while problems := await front.problems():
        if time.monotonic() > deadline:
            raise CommandFailure(f"the services did not get ready in {READY_SECONDS:g} s: {problems}")
        await asyncio.sleep(0.05)


async def serve_http(
    front: SinglePort, listener: socket.socket, embedded_servers: list[psutil.Process], stops: StopSignals
) -> None:
    """Serve until a stop signal. Raises `CommandFailure` if one of the embedded servers ends by itself."""
    # uvicorn runs no lifespan here, so what it would hand to each WebSocket is taken from the gateway's.
    state = dict(front.state("gateway"))

    def websocket(config: uvicorn.Config, server_state: ServerState, **_no_state: Any) -> WebSocket:
        return WebSocket(config, server_state, state)

    options = {**SERVER_OPTIONS, "ws": websocket, "lifespan": "off", "timeout_graceful_shutdown": 2}
    config = server_config(front, _log_settings()[0], options)
    server = DrainingServer(config, front.app_state("gateway"))

    async def watch() -> None:
        while not stops.requested and all(map(embedded.is_alive, embedded_servers)):  # noqa: ASYNC110 - from outside
            await asyncio.sleep(0.2)
        server.should_exit = True

    async with Tasks() as tasks:
        tasks.spawn(watch(), name="watch the embedded servers")
        await server.serve(sockets=[listener])
    if not all(map(embedded.is_alive, embedded_servers)):
        raise CommandFailure(
            "Postgres or NATS has ended by itself, so everything was stopped; their logs are with the data"
        )
