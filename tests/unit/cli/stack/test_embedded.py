"""The embedded servers: started on what is there, ended whatever happened, never twice on one directory."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import nats
import psutil
import pytest
from nats.errors import NoServersError
from sqlalchemy import text

from parley.auth.database import create_engine
from parley.cli.stack import embedded

LEAVE_BEHIND = """
import os, pathlib, signal, sys
from parley.cli.stack import embedded
with embedded.postgres(pathlib.Path(sys.argv[1]) / "postgres"), embedded.nats(pathlib.Path(sys.argv[1]) / "nats"):
    os.kill(os.getpid(), signal.SIGKILL)
"""


def query(url: str, statement: str) -> object:
    async def ask() -> object:
        engine = create_engine(url).execution_options(isolation_level="AUTOCOMMIT")
        async with engine.connect() as connection:
            result = await connection.execute(text(statement))
            answer = result.scalar() if result.returns_rows else None
        await engine.dispose()
        return answer

    return asyncio.run(ask())


def servers_on(directory: Path) -> list[int]:
    """The pids of Postgres and NATS servers whose command line names something below a directory."""
    return [
        process.pid
        for process in psutil.process_iter(["name", "cmdline"])
        if process.info["name"] in {"postgres", "nats-server"}
        and any(str(directory) in argument for argument in process.info["cmdline"] or ())
    ]


def test_postgres_keeps_its_data_and_leaves_no_process(tmp_path: Path) -> None:
    with embedded.postgres(tmp_path / "data") as url:
        query(url, "CREATE TABLE kept AS SELECT 42 AS answer")
    assert servers_on(tmp_path) == []
    with embedded.postgres(tmp_path / "data") as url:
        assert query(url, "SELECT answer FROM kept") == 42


def test_a_data_directory_may_have_any_name_and_a_path_too_long_for_a_socket(tmp_path: Path) -> None:
    with embedded.postgres(tmp_path / ("a b & ü" + "x" * 100) / "data") as url:
        assert query(url, "SELECT 1") == 1


def test_servers_that_a_killed_process_left_behind_are_replaced(tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", LEAVE_BEHIND, str(tmp_path)], check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    left = servers_on(tmp_path)
    assert len(left) == 2
    with embedded.postgres(tmp_path / "postgres") as url, embedded.nats(tmp_path / "nats"):
        assert query(url, "SELECT 1") == 1
        assert not set(left) & set(servers_on(tmp_path))


def test_an_interrupted_first_start_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "data.partial").mkdir()
    (tmp_path / "data.partial" / "PG_VERSION").write_text("18\n")
    with embedded.postgres(tmp_path / "data") as url:
        assert query(url, "SELECT 1") == 1


def test_a_stale_pid_file_whose_number_another_process_has_now_is_no_obstacle(tmp_path: Path) -> None:
    with embedded.postgres(tmp_path / "data"):
        pass
    (tmp_path / "data" / "postmaster.pid").write_text(f"{os.getppid()}\n{tmp_path}\n")
    with embedded.postgres(tmp_path / "data") as url:
        assert query(url, "SELECT 1") == 1


def test_data_of_another_postgres_version_is_refused_untouched(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "PG_VERSION").write_text("15\n")
    with pytest.raises(embedded.EmbeddedError, match="was made by Postgres 15"), embedded.postgres(tmp_path / "data"):
        pass
    assert [file.name for file in (tmp_path / "data").iterdir()] == ["PG_VERSION"]


async def test_nats_with_users_admits_nobody_else(tmp_path: Path) -> None:
    async def ignore(_error: Exception) -> None:
        """The refusal is what the test is about."""

    with embedded.nats(tmp_path, configuration='authorization { user: "ann", password: "secret" }') as url:
        client = await nats.connect(url.replace("//", "//ann:secret@"))
        await client.close()
        assert oct((tmp_path / "nats.conf").stat().st_mode)[-3:] == "600"
        with pytest.raises(NoServersError):
            await nats.connect(url, max_reconnect_attempts=1, error_cb=ignore)
    assert servers_on(tmp_path) == []
