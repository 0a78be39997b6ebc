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
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PARLEY_")} | {
        "PARLEY_NATS_URL": "nats://127.0.0.1:1", "PARLEY_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
        "PARLEY_PORT": "0", "PYTHONUNBUFFERED": "1",
    }  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, cwd=tmp_path, env=environment,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
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
