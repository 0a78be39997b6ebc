"""Postgres and NATS as processes that can be killed, stopped and started again, each with a clock of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg
import psutil
from typing_extensions import override
from uvicorn.config import STARTUP_FAILURE

from parley.cli.database.migrations import upgrade
from parley.cli.stack import embedded
from tests.chaos.clock import Clock
from tests.support.ports import free_port
from tests.support.stack.stack import Process

READY_SECONDS = 60.0
DATABASE = "chaos"


class Server:
    """One server process, with its children."""

    name = ""
    url = ""
    how_to_end = signal.SIGTERM

    def __init__(self, arguments: list[str], log: Path, environment: dict[str, str], account: str | None) -> None:
        self._arguments = arguments
        self._log = log
        self._environment = environment
        self._account = account
        self._process: psutil.Popen | None = None

    def start(self) -> None:
        """Start it; `ready` waits for it."""
        with self._log.open("ab") as log:
            self._process = psutil.Popen(
                self._arguments, env={**os.environ, **self._environment}, stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, cwd=self._log.parent, user=self._account, start_new_session=True,
            )  # fmt: skip

    async def ready(self) -> None:
        """Wait until it answers. One that ends because something of its predecessor is left is started again."""
        async with asyncio.timeout(READY_SECONDS):
            while not await self._answers():
                if not self.running:
                    self.start()
                await asyncio.sleep(0.05)

    async def _answers(self) -> bool:
        raise NotImplementedError

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def family(self) -> Iterator[psutil.Process]:
        """The process and its children."""
        if self._process is not None:
            with suppress(psutil.NoSuchProcess):
                yield from self._process.children(recursive=True)
                yield self._process

    def send(self, number: signal.Signals) -> None:
        """Send a signal to all of it."""
        for process in list(self.family()):
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def kill(self) -> None:
        """End it at once, and collect it."""
        self.send(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def stop(self) -> None:
        """End it in order, or by force where that takes too long."""
        if self._process is None:
            return
        self._process.send_signal(self.how_to_end)
        try:
            self._process.wait(15)
        except psutil.TimeoutExpired:
            self.kill()


class Nats(Server):
    """NATS on a port that stays the same."""

    name = "nats"

    def __init__(self, directory: Path) -> None:
        self._port = free_port()
        directory.mkdir(parents=True)
        binary = Path(sysconfig.get_path("scripts")) / "nats-server"
        arguments = [str(binary), "-a", "127.0.0.1", "-p", str(self._port), "-js", "-sd", str(directory / "jetstream")]
        super().__init__(arguments, directory / "nats.log", {}, None)
        self.url = f"nats://127.0.0.1:{self._port}"

    async def _answers(self) -> bool:
        with suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", self._port)
            writer.close()
            return True
        return False


class Postgres(Server):
    """Postgres on a Unix socket."""

    name = "postgres"
    how_to_end = signal.SIGINT

    def __init__(self, directory: Path, clock: Clock) -> None:
        data = directory / "data"
        with embedded.postgres(data) as url:
            asyncio.run(_create(url))
            self.url = urlsplit(url)._replace(path=f"/{DATABASE}").geturl()
            upgrade(self.url)
        binary = embedded.POSTGRES_VERSIONS[embedded.POSTGRES] / "postgres"
        sockets = Path(parse_qs(urlsplit(self.url).query)["host"][0])
        # Where the path of the data is too long for a socket, it lay in a directory that is gone by now.
        sockets.mkdir(exist_ok=True)
        account = "pgserver" if os.geteuid() == 0 else None
        arguments = [str(binary), "-D", str(data), "-h", "", "-k", str(sockets)]
        log = directory / "postgres.log"
        super().__init__(arguments, log, clock.environment, account)

    async def _answers(self) -> bool:
        try:
            connection = await asyncpg.connect(self.url, timeout=5)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False
        await connection.close()
        return True

    def crash(self) -> None:
        """Kill one session, upon which Postgres ends them all and replays its log."""
        for process in self.family():
            with suppress(psutil.NoSuchProcess):
                if DATABASE in " ".join(process.cmdline()) and process.pid != self._pid:
                    process.kill()
                    return

    @property
    def _pid(self) -> int:
        assert self._process is not None
        return self._process.pid


class Service(Process):
    """One of our processes, as the servers are."""

    ready_seconds = 150.0
    """All begin at once, perhaps on a machine that does something else as well."""

    @override
    async def ready(self) -> None:
        """Wait until it serves. One that found no Postgres has ended, and is started again, as a supervisor does it."""
        while True:
            try:
                return await super().ready()
            except AssertionError:
                if self._process is None or self._process.poll() != STARTUP_FAILURE:
                    raise
                self.start()

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def end(self) -> None:
        """End it in order, or by force where that takes too long."""
        try:
            self.stop()
        except subprocess.TimeoutExpired:
            self.kill()


async def _create(url: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(f"CREATE DATABASE {DATABASE}")
    await connection.close()


def wait_seconds(moment: float) -> float:
    """Seconds from now to a moment of the monotonic clock, not negative."""
    return max(0.0, moment - time.monotonic())
