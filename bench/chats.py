"""Servers that keep what they are sent: Parley whole, and the usual hand-made backend, on Postgres."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

import asyncpg
import httpx
import jwt
from contestants import PEERS, SERVERS, Contestant, Surroundings, wait_for_port
from machine import child, free_port, on_cores, running, wait_until

from parley.cli import embedded
from parley.cli.migrations import upgrade

SECRET = "a secret that signs the tokens of the load"
TOKEN_SECONDS = 24 * 3600


@dataclass(frozen=True)
class Database:
    """A running Postgres, and on which cores those who use it run."""

    url: str
    cores: set[int]

    async def _count(self, query: str) -> int:
        connection = cast("Any", await asyncpg.connect(self.url))
        try:
            return int(await connection.fetchval(query))
        finally:
            await connection.close()

    def count(self, table: str, where: str = "true") -> int:
        """Rows of a table."""
        return asyncio.run(self._count(f"SELECT count(*) FROM {table} WHERE {where}"))


@contextmanager
def database(directory: Path, cores: set[int]) -> Generator[Database]:
    """Postgres with Parley's schema."""
    with ExitStack() as stack:
        with on_cores(cores):
            url = stack.enter_context(embedded.postgres(directory / "postgres"))
        upgrade(url)
        yield Database(url, cores)


@contextmanager
def node_chat(around: Surroundings, base: Database) -> Generator[Contestant]:
    """Socket.IO on Node.js with one INSERT per message."""
    port = free_port()
    log = around.directory / "node-chat.log"
    environment = {"PORT": str(port), "PGHOST": parse_qs(urlsplit(base.url).query)["host"][0]}
    with running(["node", PEERS / "persisted.js"], log, base.cores, environment) as process:
        wait_for_port(process, port, log)
        parts = {"node": process.pid, "postgres": child("postgres")}
        yield Contestant("node", port, parts, "node", message='421["msg","room-%g","%t"]')


@contextmanager
def parley_chat(around: Surroundings, base: Database, rooms: int = 0) -> Generator[Contestant]:
    """Gateway, auth and chat on NATS and Postgres, with rooms made and a token for each client."""
    ports = {name: free_port() for name in ("auth", "chat", "gateway")}
    with ExitStack() as stack:
        with on_cores(base.cores):
            nats_url = stack.enter_context(embedded.nats(around.directory / "nats"))
        environment = {
            "PARLEY_NATS_URL": nats_url,
            "PARLEY_DATABASE_URL": base.url,
            "PARLEY_LOG_LEVEL": "warning",
            "PARLEY_AUTH_HS256_SECRET": SECRET,
            "PARLEY_AUTH_ADMIN_PASSWORD": "the password of nobody",
            "BENCH_LAG_FILE": str(around.lag_file),
        }
        parts = {"nats": child("nats-server"), "postgres": child("postgres")}
        for name, port in ports.items():
            # The gateway differs from `python -m parley.gateway` only by the watch on its event loop.
            command = (
                [sys.executable, SERVERS / "gateway.py"]
                if name == "gateway"
                else [sys.executable, "-m", f"parley.{name}"]
            )
            log = around.directory / f"{name}.log"
            own = {**environment, "PARLEY_PORT": str(port), "PARLEY_INSTANCE": f"{name}-bench"}
            process = stack.enter_context(running(command, log, base.cores, own))
            wait_for_port(process, port, log)
            wait_until(lambda at=port: ready(at), f"{name} to be ready")
            parts[name] = process.pid
        tokens, names = around.directory / "tokens", around.directory / "rooms"
        tokens.write_text("".join(f"{token(f'user{n}')}\n" for n in range(around.clients)))
        names.write_text("".join(f"{room}\n" for room in _create_rooms(ports["chat"], rooms)))
        yield Contestant(
            "parley", ports["gateway"], parts, "gateway",
            connect='40/chat,{"token":"%k"}',
            join='42/chat,0["room.join",{"id":"%uj%i","room":"%g"}]' if rooms else "",
            message='42/chat,1["message.send",{"id":"%um%m","room":"%g","body":"%t"}]',
            clients=("-K", str(tokens), *(("-R", str(names)) if rooms else ())),
        )  # fmt: skip


def ready(port: int) -> bool:
    """Whether the service on this port says that it can serve."""
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
    except httpx.TransportError:
        return False


def token(user: str) -> str:
    """What this user connects to Parley with."""
    return jwt.encode({"sub": user, "name": user, "exp": time.time() + TOKEN_SECONDS}, SECRET, "HS256")


def _create_rooms(chat_port: int, count: int) -> list[str]:
    headers = {"Authorization": f"Bearer {token('owner')}"}
    rooms: list[str] = []
    with httpx.Client(base_url=f"http://127.0.0.1:{chat_port}", headers=headers) as http:
        for number in range(count):
            answer = http.post("/api/rooms", json={"name": f"Room {number}", "kind": "public"}).raise_for_status()
            rooms.append(answer.json()["room"]["id"])
    return rooms
