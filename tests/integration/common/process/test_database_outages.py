"""Postgres that is dead without a word, frozen, recovering, read-only or not migrated: right codes, back in seconds."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import pytest

from parley.auth import database as auth_database
from parley.chat.domain.messages import SendMessage
from parley.chat.domain.rooms import CreateRoom
from parley.chat.log import database
from parley.cli.database.migrations import upgrade
from parley.cli.stack import embedded
from parley.common.errors import Code, Reject
from parley.common.http import health
from parley.common.wire.identity import Identity
from tests.support.auth.service import Auth, running_auth
from tests.support.chat.writing import create, running_writer
from tests.support.own_server import Server
from tests.support.postgres import run_sql
from tests.support.proxy import Proxy
from tests.support.waiting import until

ANN = Identity("u_ann", "Ann")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tenths of a second where it is seconds otherwise, for the same waits."""
    monkeypatch.setattr(database, "COMMAND_SECONDS", 0.6)
    monkeypatch.setattr(database, "CONNECT_SECONDS", 1.0)
    monkeypatch.setattr(auth_database, "PING_SECONDS", 0.3)
    monkeypatch.setattr(auth_database, "CONNECT_SECONDS", 1.0)


async def test_where_one_connection_is_found_dead_none_of_that_time_is_used_again(impatient: None, database_url: str):
    async with Proxy.running(database_url) as proxy, database.connect(proxy.url, 4) as pool:
        await asyncio.gather(*(pool.fetchval("SELECT pg_sleep(0.2)") for _ in range(4)))
        assert proxy.swallow() == 4
        began = time.monotonic()
        with pytest.raises(Reject) as caught, database.reachable():
            await pool.fetchval("SELECT 1")
        assert caught.value.code is Code.UNAVAILABLE
        for _ in range(8):
            assert await pool.fetchval("SELECT 1") == 1
        assert time.monotonic() - began < 2
        assert await database.check(pool) is None


async def test_authentication_is_back_within_seconds_when_every_connection_is_dead(
    impatient: None, database_url: str, nats_url: str
):
    async with Proxy.running(database_url) as proxy, running_auth(proxy.url, nats_url) as auth:
        token = (await auth.register())["access_token"]
        await asyncio.gather(
            *(auth.get("/auth/me", token) for _ in range(20)), *(auth.get("/readyz") for _ in range(9))
        )
        assert proxy.swallow() > 1
        began = time.monotonic()
        answers = await asyncio.gather(*(auth.get("/auth/me", token) for _ in range(20)))
        assert {answer.status_code for answer in answers} <= {200, 503}
        assert (await auth.get("/auth/me", token)).status_code == 200
        assert (await auth.login()).status_code == 200
        assert (await auth.get("/readyz")).status_code == 200
        assert time.monotonic() - began < 4


async def test_a_connection_over_tcp_asks_whether_postgres_is_still_there(database_url: str, nats_url: str):
    async with Proxy.running(database_url, tcp=True) as proxy, database.connect(proxy.url, 1) as pool:
        async with pool.acquire() as connection:
            assert _keepalive(connection._con) == 1
        engine = auth_database.create_engine(proxy.url)
        async with auth_database.Database(engine).autocommit() as opened:
            raw: Any = await opened.get_raw_connection()
            assert _keepalive(raw.driver_connection) == 1
        await engine.dispose()


def _keepalive(connection: Any) -> int:
    tcp = connection._transport.get_extra_info("socket")
    return tcp.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


async def test_sessions_hold_no_lock_and_no_isolation_of_the_databases_choosing(database_url: str):
    name = database_url.partition("?")[0].rpartition("/")[2]
    await run_sql(database_url, f"ALTER DATABASE {name} SET default_transaction_isolation = 'repeatable read'")
    engine = auth_database.create_engine(database_url)
    async with database.connect(database_url, 1) as pool, auth_database.Database(engine).transaction() as opened:
        for setting, value in (
            ("transaction_isolation", "read committed"),
            ("synchronous_commit", "on"),
            ("lock_timeout", "2s"),
            ("statement_timeout", "5s"),
            ("idle_in_transaction_session_timeout", "10s"),
        ):
            assert await pool.fetchval(f"SHOW {setting}") == value
            assert (await opened.exec_driver_sql(f"SHOW {setting}")).scalar_one() == value
    await engine.dispose()


async def test_a_database_that_takes_no_writes_or_lacks_our_tables_is_not_ready(database_url: str, nats_url: str):
    name = database_url.partition("?")[0].rpartition("/")[2]
    engine = auth_database.create_engine(database_url)
    auth = auth_database.Database(engine)
    await run_sql(database_url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    async with database.connect(database_url, 1) as pool:
        assert await database.check(pool) == "Postgres: it is read-only"
    assert await auth.check() == "the database is read-only"
    async with running_writer(database_url) as (writer, _):
        with pytest.raises(Reject) as caught:
            await writer.submit(CreateRoom("c", "room"), ANN, "")
    assert caught.value.code is Code.UNAVAILABLE
    await engine.dispose()
    await run_sql(
        database_url,
        "SET default_transaction_read_only = off",
        f"ALTER DATABASE {name} SET default_transaction_read_only = off",
    )
    for revision, found in (("'0001'", "too old"), (None, "missing")):
        change = f"UPDATE public.parley_migrations SET version_num = {revision}"
        await run_sql(database_url, change if revision else "DROP TABLE public.parley_migrations")
        async with database.connect(database_url, 1) as pool:
            assert await database.check(pool) == f"Postgres: the schema is {found}: run `parley migrate`"
        assert await auth.check() == f"the schema is {found}: run `parley migrate`"
    await engine.dispose()


class OwnPostgres:
    """A Postgres of the test's own, whose processes it may stop and kill."""

    def __init__(self, url: str, data: Path) -> None:
        self.url = url
        self._data = data

    def processes(self) -> list[psutil.Process]:
        """The postmaster first, then its children."""
        postmaster = psutil.Process(int((self._data / "postmaster.pid").read_text().split()[0]))
        return [postmaster, *postmaster.children()]

    @contextmanager
    def frozen(self) -> Generator[None]:
        """All of it stands still."""
        still = self.processes()
        for process in still:
            process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            for process in still:
                process.send_signal(signal.SIGCONT)

    async def crash(self) -> None:
        """Kill a session, which makes Postgres end all others and recover."""
        connection: Any = await asyncpg.connect(self.url)
        os.kill(await connection.fetchval("SELECT pg_backend_pid()"), signal.SIGKILL)
        connection.terminate()


@pytest.fixture(scope="module")
async def postgres(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[OwnPostgres]:
    data = tmp_path_factory.mktemp("outages") / "data"
    server = Server(lambda: embedded.postgres(data))
    await server.start()
    await asyncio.to_thread(upgrade, server.url)
    yield OwnPostgres(server.url, data)
    await server.stop()


async def test_a_frozen_postgres_is_unavailable_and_not_ready_until_it_goes_on(
    impatient: None, postgres: OwnPostgres, nats_url: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(health, "CHECK_SECONDS", 0.5)
    async with running_auth(postgres.url, nats_url) as auth, database.connect(postgres.url, 2) as pool:
        token = (await auth.register("frost"))["access_token"]
        with postgres.frozen():
            answers = await asyncio.gather(*(auth.get("/auth/me", token) for _ in range(3)), auth.login("frost"))
            assert [answer.json()["error"]["code"] for answer in answers] == ["unavailable"] * 4
            assert (await auth.get("/readyz")).status_code == 503
            with pytest.raises(Reject) as caught, database.reachable():
                await pool.fetchval("SELECT 1")
            assert caught.value.code is Code.UNAVAILABLE
        await until(lambda: _works(auth, token), seconds=5)
        assert await pool.fetchval("SELECT 1") == 1


async def _works(auth: Auth, token: str) -> bool:
    return (await auth.get("/auth/me", token)).status_code == 200 and (await auth.get("/readyz")).status_code == 200


async def test_while_postgres_recovers_from_a_crash_everybody_is_told_unavailable(
    impatient: None, postgres: OwnPostgres, nats_url: str, caplog: pytest.LogCaptureFixture
):
    codes: set[str] = set()
    async with running_auth(postgres.url, nats_url) as auth, running_writer(postgres.url) as (writer, _):
        await auth.register("crash")
        room = await create(writer)

        async def ask() -> bool:
            login = await auth.login("crash")
            codes.add("ok" if login.status_code == 200 else login.json()["error"]["code"])
            try:
                await writer.submit(SendMessage("once", room, "hello"), ANN, "")
            except Reject as rejection:
                codes.add(str(rejection.code))
                return False
            return login.status_code == 200

        for _ in range(3):
            await postgres.crash()
            await until(ask, seconds=20)
    assert codes <= {"ok", "unavailable"}
    assert "unavailable" in codes
    assert "Traceback" not in caplog.text
