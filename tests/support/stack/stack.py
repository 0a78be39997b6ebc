"""The services as real processes on real Postgres and NATS, each with a port of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.clients.plain_http import plain_http
from tests.support.ports import free_port
from tests.support.readiness import is_ready
from tests.support.stack.forked import ForkedProcess
from tests.support.waiting import until

READY_SECONDS = 60.0
ADMIN_PASSWORD = "correct horse battery"
SECRET = "a secret that the adopter's own server signs with"


class Process:
    """One service replica."""

    ready_seconds = READY_SECONDS

    def __init__(self, service: str, environment: dict[str, str], logs: Path, name: str) -> None:
        self.service = service
        self.name = name
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._environment = environment | {"PARLEY_PORT": str(self.port), "PARLEY_INSTANCE": name}
        self._log = logs / f"{name}.log"
        self._process: ForkedProcess | subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process; `ready` waits for it."""
        module = f"parley.{self.service}"
        if "LD_PRELOAD" not in self._environment:
            self._process = ForkedProcess(module, environment=self._environment, log=self._log)
            return
        # A library is loaded before everything else only where a program is started from nothing.
        with self._log.open("ab") as log:
            command = [sys.executable, "-m", module]
            self._process = subprocess.Popen(command, env=self._environment, stdout=log, stderr=log)

    async def ready(self) -> None:
        """Wait until it says that it can serve."""

        async def ready() -> bool:
            assert self.running, f"{self.name} died:\n{self.log()}"
            return await is_ready(self.url)

        await until(ready, lambda: f"{self.name} is ready\n{self.log()}", seconds=self.ready_seconds)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Stop the process and return its exit code."""
        assert self._process is not None
        self._process.send_signal(how)
        return self._process.wait(15)

    @property
    def pid(self) -> int:
        """Its process id, once it was started."""
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """Make sure that it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    async def restart(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Stop, and start again under the same port and name."""
        await asyncio.to_thread(self.stop, how)
        self.start()
        await self.ready()

    def log(self) -> str:
        """The end of what it logged."""
        return self._log.read_text(errors="replace")[-4000:] if self._log.exists() else ""


class Api:
    """The HTTP side of a running stack, as its users and its administrator use it."""

    def __init__(self, auth_url: str, admin_password: str) -> None:
        self.http = plain_http(timeout=15)
        self._auth_url = auth_url
        self._admin_password = admin_password
        self._admin_token = ""

    async def account(self, name: str, password: str = "a long password") -> dict[str, Any]:
        """Register a user: `{user_id, access_token, refresh_token, expires_in}`."""
        answer = await self.http.post(f"{self._auth_url}/auth/register", json={"username": name, "password": password})
        assert answer.status_code in {200, 201}, answer.text
        return answer.json()

    async def admin(self, method: str, path: str, **body: Any) -> Any:
        """A request to the admin API, as the first administrator."""
        if not self._admin_token:
            login = {"username": "admin", "password": self._admin_password}
            answer = await self.http.post(f"{self._auth_url}/auth/login", json=login)
            self._admin_token = answer.json()["access_token"]
        answer = await self.http.request(
            method, f"{self._auth_url}/admin{path}", json=body or None,
            headers={"Authorization": f"Bearer {self._admin_token}"},
        )  # fmt: skip
        assert answer.status_code < 300, answer.text
        return answer.json()


class Place(NamedTuple):
    """Where something answers."""

    url: str


class RemoteStack(Api):
    """A stack that somebody else runs behind one address."""

    def __init__(self, url: str, admin_password: str) -> None:
        super().__init__(url, admin_password)
        self.auth = Place(url)
        self.chats = [Place(url)] * 2
        self.gateways = [Place(url)] * 2


class Stack(Api):
    """Two gateways, two chats, one auth."""

    def __init__(self, database_url: str, nats_url: str, logs: Path, **settings: str) -> None:
        self.database_url = database_url
        self.nats_url = nats_url
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PARLEY_")}
        environment |= {
            "PARLEY_DATABASE_URL": database_url,
            "PARLEY_NATS_URL": nats_url,
            "PARLEY_AUTH_ADMIN_PASSWORD": ADMIN_PASSWORD,
            "PARLEY_AUTH_REGISTER_RATE_ADDRESS": "1000/minute",
            "PARLEY_AUTH_HS256_SECRET": SECRET,
            **settings,
        }
        self.auth = Process("auth", environment, logs, "auth1")
        self.chats = [Process("chat", environment, logs, f"chat{n}") for n in (1, 2)]
        self.gateways = [Process("gateway", environment, logs, f"gateway{n}") for n in (1, 2)]
        self.processes = [self.auth, *self.chats, *self.gateways]
        super().__init__(self.auth.url, ADMIN_PASSWORD)

    async def start(self) -> None:
        """Start all and wait for all."""
        try:
            for process in self.processes:
                process.start()
            await asyncio.gather(*(process.ready() for process in self.processes))
        except BaseException:
            for process in self.processes:
                process.kill()
            raise

    async def stop(self) -> None:
        """Stop all; every one must exit in order."""
        await self.http.aclose()
        running = [process for process in self.processes if process.running]
        codes = await asyncio.gather(*(asyncio.to_thread(process.stop) for process in running))
        assert set(codes) <= {0}, {p.name: (code, p.log()) for p, code in zip(running, codes, strict=True) if code}
