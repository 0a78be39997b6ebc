"""`parley up` as a user meets it: one process, one port, state between runs, and nothing left behind."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from parley.cli.stack.embedded import is_alive
from tests.support.paths import WEB
from tests.support.stack.one_command import PARLEY, OneCommand
from tests.support.waiting import until_blocking

IN_A_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)


def alive(family: list[psutil.Process]) -> list[psutil.Process]:
    return [process for process in family if is_alive(process)]


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    """A data directory; whatever still runs on it after the test is ended, and with its servers what was forked."""
    path = tmp_path / "data"
    yield path
    for process in psutil.process_iter(["cmdline"]):
        if any(str(path) in argument for argument in process.info["cmdline"] or ()):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


def test_it_prints_an_address_and_an_admin_token_that_work(one_command: OneCommand) -> None:
    assert httpx.get(f"{one_command.url}/readyz").json()["ready"]
    assert httpx.get(f"{one_command.url}/admin/users").status_code == 401
    answer = httpx.get(f"{one_command.url}/admin/users", headers={"authorization": f"Bearer {one_command.token}"})
    assert answer.status_code == 200


def test_the_printed_password_is_the_admins(one_command: OneCommand) -> None:
    password = one_command.find(r"admin, password (\S+)")
    answer = httpx.post(f"{one_command.url}/auth/login", json={"username": "admin", "password": password})
    assert answer.status_code == 200
    path = Path(one_command.find(r"kept in (.+)\)"))
    assert path.read_text().strip() == password
    assert path.stat().st_mode & 0o077 == 0


def test_the_page_is_served_where_it_is_complete(one_command: OneCommand) -> None:
    if not (WEB / "public" / "socket.io.min.js").exists():
        pytest.skip("the Socket.IO client was not fetched (no npm)")
    page = httpx.get(one_command.url)
    assert page.status_code == 200
    assert "<title>Parley</title>" in page.text
    assert httpx.get(f"{one_command.url}/socket.io.min.js").status_code == 200


def test_the_printed_client_and_kick_work_as_printed(one_command: OneCommand, tmp_path: Path) -> None:
    node, curl = shutil.which("node"), shutil.which("curl")
    modules = WEB / "node_modules"
    if node is None or curl is None or not (modules / "socket.io-client").exists():
        pytest.skip("needs node, curl and web/node_modules")
    program = one_command.printed[one_command.printed.index("import { io }") : one_command.printed.index("Try next")]
    (tmp_path / "hello.mjs").write_text(program)
    (tmp_path / "node_modules").symlink_to(modules)
    said = tmp_path / "said"
    with said.open("w") as output:
        client = subprocess.Popen([node, "hello.mjs"], cwd=tmp_path, stdout=output, stderr=subprocess.STDOUT)
    try:
        until_blocking(lambda: "Hello" in said.read_text() or client.poll() is not None, "message", 20)
        user = re.search(r"(\S+) sent message", said.read_text())
        assert user, said.read_text()
        kick = one_command.find(r"(curl -X POST .+)").replace("USER_ID", user[1])
        kicked = subprocess.run([curl, "-s", *shlex.split(kick)[1:]], capture_output=True, text=True, check=True)
        assert '"disconnected":1' in kicked.stdout.replace(" ", "")
        until_blocking(lambda: "disconnected: io server disconnect" in said.read_text(), "disconnect", 10)
    finally:
        client.kill()
        client.wait()


def test_state_survives_a_restart_and_the_password_is_not_shown_again(data: Path) -> None:
    account = {"username": "ada", "password": "correct-horse-battery"}
    first = OneCommand(data).wait_until_ready()
    assert httpx.post(f"{first.url}/auth/register", json=account).status_code < 300
    password = first.find(r"admin, password (\S+)")
    first.stop()
    second = OneCommand(data).wait_until_ready()
    assert httpx.post(f"{second.url}/auth/login", json=account).status_code == 200
    assert password not in second.printed
    second.stop()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stop_signal_ends_everything_with_exit_code_0(data: Path, number: signal.Signals) -> None:
    stack = OneCommand(data, from_nothing=number is signal.SIGINT).wait_until_ready()
    family = stack.family()
    assert {"postgres", "nats-server"} <= {process.name() for process in family}
    assert stack.stop(number) == 0
    assert alive(family) == []
    assert "Traceback" not in stack.printed


@pytest.mark.parametrize("step", ["Creating the database", "Starting NATS", "Migrating the database"])
def test_ctrl_c_while_it_starts_leaves_nothing(data: Path, step: str) -> None:
    stack = OneCommand(data)
    until_blocking(lambda: step in stack.printed, step)
    family = stack.family()
    assert stack.stop() == 0
    assert alive(family) == []
    assert "Traceback" not in stack.printed


def test_a_closed_terminal_ends_everything(data: Path) -> None:
    terminal, inside = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", IN_A_TERMINAL, PARLEY, "up", "--port", "0", "--data", str(data)],
        stdin=inside,
        stdout=inside,
        stderr=inside,
        start_new_session=True,
        cwd=data.parent,
    )
    os.close(inside)
    flags = fcntl.fcntl(terminal, fcntl.F_GETFL)
    fcntl.fcntl(terminal, fcntl.F_SETFL, flags | os.O_NONBLOCK)
    printed = bytearray()

    def ready() -> bool:
        with contextlib.suppress(BlockingIOError):
            printed.extend(os.read(terminal, 65536))
        return b"Ctrl-C stops" in printed

    until_blocking(ready, "ready stack")
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    assert len(family) > 2
    os.close(terminal)
    process.wait(30)
    assert alive(family) == []


def test_after_a_kill_the_next_start_recovers(data: Path) -> None:
    first = OneCommand(data).wait_until_ready()
    family = first.family()
    first.stop(signal.SIGKILL)
    assert alive(family), "Postgres and NATS outlive a killed parent"
    second = OneCommand(data).wait_until_ready()
    assert httpx.get(f"{second.url}/readyz").status_code == 200
    assert alive(family) == []
    assert second.stop() == 0


@pytest.mark.parametrize("server", ["postgres", "nats-server"])
def test_when_a_server_dies_everything_stops_and_says_so(data: Path, server: str) -> None:
    stack = OneCommand(data).wait_until_ready()
    family = stack.family()
    next(process for process in family if process.name() == server).kill()
    assert stack.process.wait(30) == 1
    assert alive(family) == []
    assert "parley: Postgres or NATS has ended by itself" in stack.printed


def test_a_second_start_on_the_same_data_is_refused_and_harms_nothing(one_command: OneCommand) -> None:
    data = Path(one_command.find(r"kept in (.+)/admin-password"))
    second = subprocess.run(
        [PARLEY, "up", "--port", "0", "--data", str(data)], capture_output=True, text=True, check=False, timeout=30
    )
    assert second.returncode == 1
    assert second.stderr == f"parley: another parley runs on {data}; stop it, or give this one its own with --data\n"
    assert httpx.get(f"{one_command.url}/readyz").json()["ready"]


def test_the_port_of_a_running_stack_is_refused_in_one_line(one_command: OneCommand, data: Path) -> None:
    port = one_command.url.rsplit(":", 1)[1]
    second = OneCommand(data, port=int(port))
    assert second.process.wait(30) == 1
    assert second.printed.startswith(f"parley: cannot listen on 127.0.0.1 port {port}: ")
    assert second.printed.count("\n") == 1
