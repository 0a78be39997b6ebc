"""Processes and what they cost: starting them on chosen cores, their CPU time and memory, and ending them."""

from __future__ import annotations

import os
import platform
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

READY_SECONDS = 60.0
STOP_SECONDS = 10.0

ALL_CORES = os.sched_getaffinity(0)
SERVER_CORES = {min(ALL_CORES)}
CLIENT_CORES = {sorted(ALL_CORES)[min(1, len(ALL_CORES) - 1)]}


class BenchError(RuntimeError):
    """Something that is measured did not do what it should."""


@contextmanager
def on_cores(cores: set[int]) -> Generator[None]:
    """Run on these cores; processes started meanwhile stay there."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def running(
    command: Sequence[str | Path], log: Path, cores: set[int], environment: Mapping[str, str]
) -> Generator[subprocess.Popen[bytes]]:
    """A process for the length of the block. It runs in its log's directory, where no `.env` is."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PARLEY_")}
    with log.open("ab") as output, on_cores(cores):
        process = subprocess.Popen(
            [str(part) for part in command],
            env={**inherited, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=log.parent,
        )
    try:
        yield process
    finally:
        end(process)


def end(process: subprocess.Popen[bytes] | subprocess.Popen[str]) -> None:
    """Stop a process, by force when it does not stop by itself."""
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def wait_until(condition: Callable[[], bool], what: str, seconds: float = READY_SECONDS) -> None:
    """Wait for a condition. Raises `BenchError` when it does not come."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise BenchError(f"{what}: not within {seconds:g} s")
        time.sleep(0.02)


def listening(port: int) -> bool:
    """Whether somebody accepts connections."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def free_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def child(name: str) -> int:
    """The process id of a child of ours by its name, for children that others started for us."""
    return max((p.pid for p in psutil.Process().children() if p.name() == name), default=0)


def cpu_seconds(pid: int) -> float:
    """CPU time of a process and its children so far."""
    total = 0.0
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for one in (process, *process.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                times = one.cpu_times()
                total += times.user + times.system
    return total


def machine_cpu_seconds() -> float:
    """CPU time that all processes of the machine used so far."""
    times = psutil.cpu_times()
    return times.user + times.nice + times.system


def disk_flushes() -> int | None:
    """How often the disk with the temporary files was told to flush, by all; `None` where nobody counts that."""
    device = os.stat(tempfile.gettempdir()).st_dev  # noqa: PTH116 - a number is all
    disk = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}").resolve()
    if (disk / "partition").exists():
        disk = disk.parent
    try:
        return int((disk / "stat").read_text().split()[15])
    except (OSError, IndexError):
        return None


def resident_bytes(pid: int) -> int:
    """Resident memory of a process."""
    return psutil.Process(pid).memory_info().rss


def open_files(pid: int) -> int:
    """How many files, sockets included, a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - counting is all


def allow_many_sockets() -> int:
    """Raise our limit of open files, which children inherit, and return it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def description() -> dict[str, object]:
    """What this is measured on."""
    cpu = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    return {
        "cpu": cpu,
        "cores": len(ALL_CORES),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "kernel": platform.release(),
        "python": sys.version.split()[0],
        "open_files": resource.getrlimit(resource.RLIMIT_NOFILE)[1],
    }
