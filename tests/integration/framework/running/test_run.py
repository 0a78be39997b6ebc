"""A process that still waits for NATS or Postgres ends when it is told to, at once and without a traceback."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest
from uvicorn.config import STARTUP_FAILURE

SERVICE = """
from parley.framework import Router, Service
service = Service("poll", Router("/poll"))
"""


async def started(command: list[str], nats_url: str, directory: Path) -> asyncio.subprocess.Process:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PARLEY_")} | {
        "PARLEY_NATS_URL": nats_url, "PARLEY_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
        "PARLEY_PORT": "0", "PYTHONUNBUFFERED": "1",
    }  # fmt: skip
    return await asyncio.create_subprocess_exec(
        sys.executable, *command, cwd=directory, env=environment,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("command", "number", "status"),
    [
        pytest.param(["-m", "parley.gateway"], signal.SIGTERM, 0, id="gateway"),
        pytest.param(["-m", "parley.gateway"], signal.SIGINT, 0, id="gateway, Ctrl-C"),
        pytest.param(["-m", "parley.chat"], signal.SIGTERM, 0, id="chat"),
        pytest.param(["-m", "parley.auth"], signal.SIGTERM, 0, id="auth"),
        pytest.param(["-m", "parley.auth"], signal.SIGINT, 0, id="auth, Ctrl-C"),
        pytest.param(["-m", "parley.cli", "run", "poll_service:service"], signal.SIGTERM, 0, id="parley run"),
    ],
)
async def test_a_process_that_waits_for_nats_ends_on_a_signal(
    command: list[str], number: signal.Signals, status: int, tmp_path: Path
):
    (tmp_path / "poll_service.py").write_text(SERVICE)
    process = await started(command, "nats://127.0.0.1:1", tmp_path)
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            # It says so when it cannot connect, again and again.
            while b"NATS" not in (line := await process.stdout.readline()) and b"refused" not in line:
                assert line, "it ended by itself"
        process.send_signal(number)
        async with asyncio.timeout(5):
            # Auth does not wait for Postgres, and may have given up a moment before the signal.
            assert await process.wait() in {status, STARTUP_FAILURE if "parley.auth" in command else status}
        said = await process.stdout.read()
        assert b"Traceback" not in said, said.decode()
    finally:
        if process.returncode is None:
            process.kill()


async def test_a_chat_that_finds_no_postgres_says_so_in_a_line_and_ends(nats_url: str, tmp_path: Path):
    process = await started(["-m", "parley.chat"], nats_url, tmp_path)
    try:
        async with asyncio.timeout(30):
            said, _ = await process.communicate()
        assert process.returncode == STARTUP_FAILURE
        assert b"refused" in said, said.decode()
        assert b"not started" in said, said.decode()
        assert b"Traceback" not in said, said.decode()
    finally:
        if process.returncode is None:
            process.kill()
