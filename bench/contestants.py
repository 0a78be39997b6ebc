"""Servers that broadcast and keep nothing: how each is started, and what its clients say."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

from machine import SERVER_CORES, BenchError, child, free_port, listening, on_cores, running, wait_until

from parley.cli.stack import embedded

BENCH = Path(__file__).parent
SERVERS = BENCH / "servers"
PEERS = BENCH / "peers"


@dataclass(frozen=True)
class Contestant:
    """A running server. `parts` are its processes by name; `front` is the one that holds the sockets.

    The other fields are what a client sends: to connect, to join its room, and as a message.
    """

    name: str
    port: int
    parts: dict[str, int]
    front: str
    connect: str = "40"
    join: str = '420["join","room-%g"]'
    message: str = '42["msg","room-%g","%t"]'
    clients: tuple[str, ...] = ()
    """Further options of the load generator."""
    load: tuple[str, ...] = ()
    """A load generator of its own, for a server that does not speak Socket.IO."""
    stored: Callable[[], int] = lambda: 0
    """How much its store holds: a message more makes it one more, and nothing else does while messages are sent."""

    @property
    def front_pid(self) -> int:
        """The process that holds the sockets."""
        return self.parts[self.front]


@dataclass(frozen=True)
class Surroundings:
    """What a server is given when it is started."""

    directory: Path
    lag_file: Path
    """Where it writes how late its event loop was."""
    clients: int
    """How many will come."""


Start = Callable[[Surroundings], AbstractContextManager[Contestant]]


def wait_for_port(process: Popen[bytes], port: int, log: Path) -> None:
    """Wait until a process listens. Raises `BenchError` with the end of its log when it does not."""
    wait_until(lambda: listening(port) or process.poll() is not None, f"{log.stem} to listen")
    if process.poll() is not None:
        raise BenchError(f"{log.stem} died:\n{log.read_text(errors='replace')[-2000:]}")


@contextmanager
def _single(around: Surroundings, name: str, command: list[str | Path]) -> Generator[Contestant]:
    """A server that is one process and takes its port from the environment, or where the command says PORT."""
    port = free_port()
    log = around.directory / f"{name}.log"
    environment = {"PORT": str(port), "BENCH_LAG_FILE": str(around.lag_file)}
    arguments = [str(port) if part == "PORT" else part for part in command]
    with running(arguments, log, SERVER_CORES, environment) as process:
        wait_for_port(process, port, log)
        yield Contestant(name, port, {name: process.pid}, name)


def floor(around: Surroundings) -> AbstractContextManager[Contestant]:
    """One write per delivery in C."""
    return _single(around, "floor", [BENCH / "build" / "floor", "PORT"])


def node(around: Surroundings) -> AbstractContextManager[Contestant]:
    """Socket.IO on Node.js."""
    return _single(around, "node", ["node", PEERS / "fanout.js"])


def python_socketio(around: Surroundings) -> AbstractContextManager[Contestant]:
    """python-socketio on uvicorn and uvloop."""
    return _single(around, "python-socketio", [sys.executable, SERVERS / "python_socketio.py"])


def drop_in(around: Surroundings) -> AbstractContextManager[Contestant]:
    """The same application on Parley's engine."""
    return _single(around, "drop-in", [sys.executable, SERVERS / "python_socketio.py", "drop-in"])


@contextmanager
def engine(around: Surroundings) -> Generator[Contestant]:
    """Parley's edge alone."""
    with _single(around, "engine", [sys.executable, SERVERS / "engine.py"]) as alone:
        yield Contestant(alone.name, alone.port, alone.parts, alone.front, join="")


@contextmanager
def parley(around: Surroundings) -> Generator[Contestant]:
    """Parley's gateway and NATS, with a service behind them that publishes what it is sent, on one core together."""
    port = free_port()
    with ExitStack() as stack:
        with on_cores(SERVER_CORES):
            url = stack.enter_context(embedded.nats(around.directory / "nats"))
        environment = {
            "PARLEY_NATS_URL": url,
            "PARLEY_LOG_LEVEL": "warning",
            "PARLEY_NAMESPACES_FILE": str(SERVERS / "echo.toml"),
            "PARLEY_PORT": str(port),
            "BENCH_LAG_FILE": str(around.lag_file),
        }
        parts = {"nats": child("nats-server")}
        for name in ("echo", "gateway"):
            log = around.directory / f"{name}.log"
            command = [sys.executable, SERVERS / f"{name}.py"]
            process = stack.enter_context(running(command, log, SERVER_CORES, environment))
            parts[name] = process.pid
        wait_for_port(process, port, log)
        yield Contestant(
            "parley", port, parts, "gateway", connect="40/echo,{}", join="", message='42/echo,["msg","%t"]'
        )


BROADCASTERS: dict[str, Start] = {
    "floor": floor,
    "node": node,
    "python-socketio": python_socketio,
    "engine": engine,
    "parley": parley,
    "drop-in": drop_in,
}
ON_REQUEST = frozenset({"drop-in"})
"""Those that are measured only when they are named."""
