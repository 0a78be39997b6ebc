"""The services of the project in the working directory. Each runs as a process that restarts when its code changes."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from rich.console import Console
from rich.text import Text

from parley.cli.scaffold.namespaces_file import STOCK
from parley.common.errors import Code, Reject
from parley.common.nats.bus import Bus, connect
from parley.common.process.settings import ServiceSettings
from parley.common.wire import subjects
from parley.common.wire.rooms import GetRoomHeads
from parley.gateway.namespaces import Namespace

RETRY_SECONDS = 1.0
"""Seconds until a service whose process has ended by itself is started again."""
STOP_SECONDS = 12.0
"""Seconds to wait for a process that watches a service's code, which gives the service less than that."""
_CHUNK = 65536


@dataclass
class DevServices:
    """Which services the namespaces name, and which of them are in this directory."""

    namespaces: Mapping[str, str]
    """Every namespace with its service."""
    here: tuple[str, ...]
    elsewhere: tuple[str, ...]
    not_ready: set[str] = field(default_factory=set[str])
    """Services in this directory that have not answered yet."""

    def of(self, service: str) -> list[str]:
        """Return the namespaces of a service."""
        return [namespace for namespace, behind in self.namespaces.items() if behind == service]


def find_services(namespaces: Mapping[str, Namespace]) -> DevServices:
    """Look for the services of these namespaces, as packages or modules in the working directory."""
    named = dict.fromkeys(namespace.service for namespace in namespaces.values())
    own = [name for name in named if name not in STOCK]
    here = tuple(name for name in own if _is_here(name))
    behind = {name: namespace.service for name, namespace in namespaces.items()}
    return DevServices(behind, here, tuple(name for name in own if name not in here), set(here))


def _is_here(name: str) -> bool:
    candidates = (Path(name, "__init__.py"), Path(name, "service.py"), Path(f"{name}.py"))
    return any(candidate.is_file() for candidate in candidates)


class DevProcesses:
    """The processes of a project's services."""

    def __init__(
        self, console: Console, environment: Mapping[str, str], nats_urls: Mapping[str, str], record: Path
    ) -> None:
        self._console = console
        self._environment = environment
        self._nats_urls = nats_urls
        self._record = record
        """The file that says which processes run, so that the next start can end those that a killed one left behind.
        """
        self._running: dict[str, asyncio.subprocess.Process] = {}
        self._stopping = asyncio.Event()

    @asynccontextmanager
    async def run(self, names: tuple[str, ...]) -> AsyncGenerator[None]:
        """Run services until the block ends. One that ends by itself is started again."""
        end_left_behind(self._record)
        keeping = [asyncio.create_task(self._keep(name), name=f"service {name}") for name in names]
        try:
            yield
        finally:
            self._stopping.set()
            await asyncio.gather(*keeping)
            self._record.unlink(missing_ok=True)

    def has_failed(self, name: str) -> bool:
        """Return whether a service has ended in a way that only a change of its code can repair."""
        process = self._running.get(name)
        if process is None:
            return False
        with suppress(psutil.NoSuchProcess):
            # The process that watches the code collects the ended one only when it starts the next.
            children = psutil.Process(process.pid).children()
            return any(child.status() == psutil.STATUS_ZOMBIE for child in children)
        return False

    async def _keep(self, name: str) -> None:
        while not self._stopping.is_set():
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "parley.cli", "run", name, "--reload"),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                env={
                    **os.environ,
                    **self._environment,
                    "PARLEY_NATS_URL": self._nats_urls[name],
                    "PARLEY_INSTANCE": name,
                },
                # Ctrl-C in the terminal is for the whole stack, which stops in its own order.
                start_new_session=True,
            )
            self._running[name] = process
            self._write_record()
            passing_on = asyncio.create_task(self._pass_on(name, process))
            await self._until_ended(process)
            # The service must end with the process that watches its code, or it would share the work with the next one.
            _kill_group(process.pid)
            await passing_on
            del self._running[name]
            self._write_record()
            if not self._stopping.is_set():
                said = f"ended with exit code {process.returncode}; starting it again in {RETRY_SECONDS:g} s"
                self._print(name, said)
                with suppress(TimeoutError):
                    async with asyncio.timeout(RETRY_SECONDS):
                        await self._stopping.wait()

    async def _until_ended(self, process: asyncio.subprocess.Process) -> None:
        """Wait until a process has ended, or stop it if everything stops."""
        ended = asyncio.create_task(process.wait())
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait({ended, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not ended.done():
            process.terminate()
            await asyncio.wait({ended}, timeout=STOP_SECONDS)
            _kill_group(process.pid)
        await ended

    async def _pass_on(self, name: str, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None  # noqa: S101 - for the type checker
        rest = b""
        while chunk := await process.stdout.read(_CHUNK):
            *lines, rest = (rest + chunk).split(b"\n")
            # A line without an end is printed in pieces, so that it cannot fill the memory.
            if len(rest) > _CHUNK:
                lines, rest = [*lines, rest], b""
            for line in lines:
                self._print(name, line.decode(errors="replace"))
        if rest:
            self._print(name, rest.decode(errors="replace"))

    def _print(self, name: str, line: str) -> None:
        # What a service logs while it is being stopped is of no interest, and the terminal may be gone.
        if not self._stopping.is_set():
            with suppress(OSError):
                self._console.print(Text.assemble((f"{name} | ", "cyan"), Text.from_ansi(line)))

    def _write_record(self) -> None:
        with suppress(psutil.NoSuchProcess):
            marks = [f"{p.pid} {psutil.Process(p.pid).create_time()}" for p in self._running.values()]
            self._record.write_text("\n".join(marks))


def end_left_behind(record: Path) -> None:
    """End the services that a killed process left running."""
    if not record.is_file():
        return
    for mark in record.read_text().splitlines():
        pid, created = mark.split()
        with suppress(psutil.NoSuchProcess):
            # Another process may have the number by now; then its start time differs.
            if psutil.Process(int(pid)).create_time() == float(created):
                _kill_group(int(pid))
    record.unlink()


async def wait_until_served(
    project: DevServices, processes: DevProcesses, nats_url: str, stopping: Callable[[], bool], seconds: float
) -> None:
    """Wait until every service that is not ready answers for its namespaces, has failed, or has had `seconds`."""
    settings = ServiceSettings(nats_url=nats_url, instance="up")
    waiting = set(project.not_ready)
    async with connect(settings, "up") as bus:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not stopping() and any(not processes.has_failed(name) for name in waiting):
                    for name in list(waiting):
                        if all([await _is_served(bus, namespace) for namespace in project.of(name)]):
                            waiting.remove(name)
                    await asyncio.sleep(0.05)
    project.not_ready = waiting


async def _is_served(bus: Bus, namespace: str) -> bool:
    try:
        # A question that any service answers, with or without a log, and that changes nothing.
        await bus.call(subjects.room_heads(namespace), GetRoomHeads([]), timeout=1)
    except Reject as rejection:
        return rejection.code not in {Code.UNAVAILABLE, Code.TIMEOUT}
    return True


def _kill_group(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
