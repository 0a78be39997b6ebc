"""Real Postgres and NATS for every test: from wheels, or the servers that TEST_POSTGRES_URL and TEST_NATS_URL name.

The schema is migrated once into a template database that each test clones, so that tests commit for real.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import os
import shutil
import ssl
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from zlib import crc32

import asyncpg
import pytest
from httpx._transports import default as httpx_transports
from hypothesis import settings
from structlog.dev import ConsoleRenderer, plain_traceback

from parley.cli.database.migrations import upgrade
from parley.cli.stack import embedded
from parley.common.http import guarded_fetch
from parley.gateway import gateway

# Before it is imported: failed assertions in what tests share tell as much as those in tests.
pytest.register_assert_rewrite("tests.support")

from tests.support.made_routes import sharing_routes  # noqa: E402
from tests.support.own_server import Server  # noqa: E402
from tests.support.paths import ROOT  # noqa: E402
from tests.support.ports import free_port  # noqa: E402
from tests.support.postgres import run_sql, with_database  # noqa: E402

MEMORY = Path("/dev/shm")
MEMORY_BYTES = 4 * 1024**3
"""Room in memory that the directories of all workers have several times over."""


def _make_directories_in_memory() -> None:
    """Make temporary directories, and so databases, where there is no disk to wait for, if that has room.

    A database is some four hundred files, and more than a thousand are made and removed. Each checkout has a directory
    of its own: pytest shuts that of another run to other users, such as the one that Postgres runs as.
    """
    if "TMPDIR" in os.environ or not MEMORY.is_dir() or shutil.disk_usage(MEMORY).free < MEMORY_BYTES:
        return
    # What is compiled there has to run.
    if not os.statvfs(MEMORY).f_flag & os.ST_NOEXEC:
        directory = MEMORY / f"t{crc32(str(ROOT).encode()) & 0xFFFF:04x}"  # short, as names of sockets have to be
        directory.mkdir(exist_ok=True)
        os.environ["TMPDIR"] = str(directory)
        tempfile.tempdir = None


_make_directories_in_memory()

# Examples are not timed: a busy machine is no failure.
settings.register_profile("parley", deadline=None, max_examples=50)
settings.load_profile("parley")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Two workers on each processor: tests wait half of their time, for other processes and for time to pass."""
    return (os.cpu_count() or 1) * 2


@pytest.fixture(scope="session", autouse=True)
def _little_garbage_collection() -> Iterator[None]:
    """What was imported stays, so it is not searched for garbage again and again.

    Nor by gateways in this process, which would search it at each start, and leave it to themselves to collect.
    """
    gc.collect()
    gc.freeze()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gateway, "run_collector", _collect_nothing)
        yield


async def _collect_nothing() -> None:
    await asyncio.Event().wait()


@pytest.fixture(scope="session", autouse=True)
def _one_list_of_authorities() -> Iterator[None]:
    """Clients of HTTP share what they know of certificates, which each service would read anew for 25 ms."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(httpx_transports, "create_ssl_context", functools.cache(httpx_transports.create_ssl_context))  # pyright: ignore[reportPrivateImportUsage]
        once = functools.cache(ssl.create_default_context)
        patch.setattr(guarded_fetch, "ssl", SimpleNamespace(create_default_context=once))
        yield


@pytest.fixture(scope="session", autouse=True)
def _plain_tracebacks() -> Iterator[None]:
    """What is logged in tests has tracebacks as the services log them; structlog's own take a second each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ConsoleRenderer.get_active(), "exception_formatter", plain_traceback)
        yield


@pytest.fixture(scope="session", autouse=True)
def _routes_made_once() -> Iterator[None]:
    """Services share what FastAPI makes of their routes."""
    with sharing_routes():
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_ambient_settings() -> None:
    """A developer's own PARLEY_* variables must not reach the tests."""
    for name in [name for name in os.environ if name.startswith("PARLEY_")]:
        del os.environ[name]


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A running Postgres server. Not below pytest's own directory, which later runs tidy up while this one lasts."""
    if url := os.environ.get("TEST_POSTGRES_URL"):
        yield url
        return
    with (
        tempfile.TemporaryDirectory(prefix="parley-test-") as directory,
        embedded.postgres(Path(directory) / "data") as url,
    ):
        # Each test clones a database, which is mostly waiting for the disk. Only a power cut could tell the difference.
        asyncio.run(
            run_sql(
                url,
                "ALTER SYSTEM SET fsync = off",
                "ALTER SYSTEM SET full_page_writes = off",
                "ALTER SYSTEM SET max_wal_size = '128MB'",
                "SELECT pg_reload_conf()",
            )
        )
        yield url


@pytest.fixture(scope="session")
def nats_url() -> Iterator[str]:
    """A running NATS server."""
    if url := os.environ.get("TEST_NATS_URL"):
        yield url
        return
    with tempfile.TemporaryDirectory(prefix="parley-test-") as directory, embedded.nats(Path(directory)) as url:
        yield url


@pytest.fixture(scope="session")
def template_database(postgres_url: str) -> str:
    """The name of a migrated database to clone."""
    name = f"template_{uuid.uuid4().hex[:8]}"
    asyncio.run(run_sql(postgres_url, f"CREATE DATABASE {name}"))
    upgrade(with_database(postgres_url, name))
    return name


@pytest.fixture(scope="session")
async def database_maker(postgres_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection that makes and removes databases: to open one for each takes as long as half of that."""
    connection = await asyncpg.connect(postgres_url)
    yield connection
    await connection.close()


@pytest.fixture
async def database_url(
    postgres_url: str, template_database: str, database_maker: asyncpg.Connection
) -> AsyncIterator[str]:
    """A migrated database of the test's own."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    await database_maker.execute(f"CREATE DATABASE {name} TEMPLATE {template_database} STRATEGY FILE_COPY")
    yield with_database(postgres_url, name)
    await database_maker.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def own_nats(tmp_path: Path) -> AsyncIterator[Server]:
    """A NATS server that the test may stop, and start again on the same port."""
    port = free_port()
    server = Server(lambda: embedded.nats(tmp_path / "nats", port))
    await server.start()
    yield server
    await server.stop()
