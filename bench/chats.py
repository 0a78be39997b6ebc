"""Servers that keep what they are sent: Parley whole, and the usual hand-made backend, on Postgres."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast
from urllib.parse import parse_qs, urlsplit

import asyncpg
import httpx
import jwt
from contestants import PEERS, SERVERS, Contestant, Surroundings, wait_for_port
from machine import child, free_port, on_cores, running, wait_until

from parley.cli.database.migrations import upgrade
from parley.cli.stack import embedded

SECRET = "a secret that signs the tokens of the load"
TOKEN_SECONDS = 24 * 3600
JOIN = '42/chat,0["room.join",{"id":"%uj%i","room":"%g"}]'


@dataclass(frozen=True)
class Database:
    """A running Postgres, and on which cores those who use it run."""

    url: str
    cores: set[int]

    async def _script(self, statements: str) -> None:
        connection = cast("Any", await asyncpg.connect(self.url))
        try:
            await connection.execute(statements)
        finally:
            await connection.close()

    def script(self, statements: str) -> None:
        """Execute any number of statements."""
        asyncio.run(self._script(statements))

    def answers(self) -> bool:
        """Whether it takes queries yet."""
        try:
            return self.value("SELECT true")
        except (OSError, asyncpg.CannotConnectNowError):
            return False

    async def _value(self, query: str) -> Any:
        connection = cast("Any", await asyncpg.connect(self.url))
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()

    def value(self, query: str) -> Any:
        """What a query of one value says."""
        return asyncio.run(self._value(query))

    def count(self, table: str) -> int:
        """Rows of a table."""
        return self.value(f"SELECT count(*) FROM {table}")


@contextmanager
def database(directory: Path, cores: set[int]) -> Generator[Database]:
    """A new Postgres in this directory, with Parley's schema."""
    with _postgres(directory, cores) as base:
        upgrade(base.url)
        yield base


@contextmanager
def copied(template: Path, directory: Path, cores: set[int]) -> Generator[Database]:
    """Postgres on a copy of the directory of one that was stopped."""
    # Owners and permissions matter to Postgres, so cp copies it rather than Python.
    subprocess.run(["cp", "-a", "--reflink=auto", str(template), str(directory)], check=True)
    with _postgres(directory, cores) as base:
        yield base


@contextmanager
def _postgres(directory: Path, cores: set[int]) -> Generator[Database]:
    with ExitStack() as stack:
        with on_cores(cores):
            url = stack.enter_context(embedded.postgres(directory))
        yield Database(url, cores)


@contextmanager
def _node(around: Surroundings, base: Database, program: str) -> Generator[Contestant]:
    port = free_port()
    log = around.directory / "node-chat.log"
    environment = {"PORT": str(port), "PGHOST": parse_qs(urlsplit(base.url).query)["host"][0]}
    with running(["node", PEERS / program], log, base.cores, environment) as process:
        wait_for_port(process, port, log)
        yield Contestant(
            "node",
            port,
            {"node": process.pid, "postgres": child("postgres")},
            "node",
            message='42%m["msg","room-%g","%t"]',
            stored=lambda: base.count("peer_messages"),
        )


def node_chat(around: Surroundings, base: Database, _rooms: Sequence[str]) -> AbstractContextManager[Contestant]:
    """Socket.IO on Node.js with one INSERT per message."""
    return _node(around, base, "persisted.js")


def node_gathered_chat(
    around: Surroundings, base: Database, _rooms: Sequence[str]
) -> AbstractContextManager[Contestant]:
    """The same with one INSERT for all messages that wait."""
    return _node(around, base, "persisted-gathered.js")


def parley_chat(around: Surroundings, base: Database, rooms: Sequence[str] = ()) -> AbstractContextManager[Contestant]:
    """Gateway, auth and chat on NATS and Postgres, with a token for each client. Rooms without an id are made."""
    return _chat("parley", around, base, rooms, ("auth", "chat", "gateway"))


def one_process_chat(
    around: Surroundings, base: Database, rooms: Sequence[str] = ()
) -> AbstractContextManager[Contestant]:
    """The same services in one process, as `parley up` runs them."""
    return _chat("one-process", around, base, rooms, ("one-process",))


@contextmanager
def _chat(
    name: str, around: Surroundings, base: Database, rooms: Sequence[str], processes: Sequence[str]
) -> Generator[Contestant]:
    with _parley(around, base, processes) as (parts, ports):
        front = processes[-1]
        tokens, names = around.directory / "tokens", around.directory / "rooms"
        tokens.write_text("".join(f"{token(f'user{n}')}\n" for n in range(around.clients)))
        made = iter(_create_rooms(ports.get("chat", ports[front]), sum(not room for room in rooms)))
        names.write_text("".join(f"{room or next(made)}\n" for room in rooms))
        yield Contestant(
            name, ports[front], parts, front,
            connect='40/chat,{"token":"%k"}',
            join=JOIN if rooms else "",
            message='42/chat,%m["message.send",{"id":"%um%m","room":"%g","body":"%t"}]',
            clients=("-K", str(tokens), *(("-R", str(names)) if rooms else ())),
            stored=lambda: base.count("chat.events"),
        )  # fmt: skip


class TwoGateways(NamedTuple):
    """Parley with a second gateway. `server` is all of it, by the first one's port."""

    server: Contestant
    second_port: int
    chat_port: int


@contextmanager
def two_gateways(around: Surroundings, base: Database) -> Generator[TwoGateways]:
    """Two gateways, auth and chat on NATS and Postgres; clients join the rooms that they are given."""
    with _parley(around, base, ("auth", "chat", "gateway", "gateway-2")) as (parts, ports):
        server = Contestant(
            "parley", ports["gateway"], parts, "gateway", connect='40/chat,{"token":"%k"}', join=JOIN,
        )  # fmt: skip
        yield TwoGateways(server, ports["gateway-2"], ports["chat"])


@contextmanager
def _parley(
    around: Surroundings, base: Database, names: Sequence[str]
) -> Generator[tuple[dict[str, int], dict[str, int]]]:
    """Parley's processes; their ids, those of NATS and Postgres among them, and their ports."""
    ports = {name: free_port() for name in names}
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
            "BENCH_DIRECTORY": str(around.directory),
        }
        parts = {"nats": child("nats-server"), "postgres": child("postgres")}
        for name, port in ports.items():
            # The gateway differs from `python -m parley.gateway` only by the watch on its event loop.
            script = {"gateway-2": "gateway.py", "gateway": "gateway.py", "one-process": "one_process.py"}.get(name)
            command = [sys.executable, *([SERVERS / script] if script else ["-m", f"parley.{name}"])]
            log = around.directory / f"{name}.log"
            own = {**environment, "PARLEY_PORT": str(port), "PARLEY_INSTANCE": f"{name}-bench"}
            process = stack.enter_context(running(command, log, base.cores, own))
            wait_for_port(process, port, log)
            wait_until(lambda at=port: ready(at), f"{name} to be ready")
            parts[name] = process.pid
        yield parts, ports


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
