"""A new service as its developer meets it: written, tested, run, and changed while a client stays connected."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from parley.cli.stack.embedded import is_alive
from parley.testing import StockClient
from tests.support.clients.plain_http import plain_http
from tests.support.stack.one_command import PARLEY, OneCommand
from tests.support.waiting import until, until_blocking

CHANGE_SECONDS = 30.0
"""What a change may take to show on a busy machine."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a service was begun, and another one is named that is not there."""
    folder = tmp_path_factory.mktemp("project")
    subprocess.run([PARLEY, "new", "service", "dice"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    with (folder / "namespaces.toml").open("a") as namespaces:
        namespaces.write('\n[namespaces."/maps"]\nservice = "maps"\n')
    return folder


@pytest.fixture(scope="module")
def stack(project: Path) -> Iterator[OneCommand]:
    """`parley up` in that folder; nothing of it may be left in the end."""
    command = OneCommand(project / "data").wait_until_ready()
    family = command.family()
    yield command
    family += command.family()
    assert command.stop() == 0, command.printed
    assert [process for process in family if is_alive(process)] == []
    assert "Traceback" not in command.printed


@pytest.fixture
async def ann(stack: OneCommand) -> Any:
    """Somebody with an account, connected to the new namespace."""
    body = {"username": f"ann_{time.monotonic_ns()}", "password": "correct-horse-battery"}
    async with plain_http(base_url=stack.url) as http:
        account = (await http.post("/auth/register", json=body)).raise_for_status().json()
    client = StockClient("/dice")
    await client.connect(stack.url, auth={"token": account["access_token"]})
    yield client
    await client.close()


def watcher(stack: OneCommand) -> psutil.Process:
    """The process that watches the service's code."""
    return next(process for process in stack.family() if "--reload" in process.cmdline())


def test_its_own_test_passes(project: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--basetemp={tmp_path / 'nested'}"]
    result = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "3 passed" in result.stdout


async def test_a_stock_client_is_served(ann: StockClient) -> None:
    assert (await ann.emit("say", "lobby", "hello"))["text"] == "hello"


def test_the_welcome_names_every_service_and_how_to_start_the_missing_one(stack: OneCommand) -> None:
    assert "dice on /dice - from this directory" in stack.printed
    assert "chat on /chat - Parley's own" in stack.printed
    assert "maps on /maps - not in this directory" in stack.printed
    stack.find(r"(PARLEY_NATS_URL=nats://\S+@127\.0\.0\.1:\d+ PARLEY_PORT=0 parley run maps)")


async def test_a_changed_controller_answers_on_the_same_connection(
    project: Path, stack: OneCommand, ann: StockClient
) -> None:
    code, sid = project / "dice" / "service.py", ann.sid
    written, family = code.read_text(), set(stack.family())
    code.write_text(written.replace("Said(context.identity.name, text)", "Said(context.identity.name, text.upper())"))

    async def shouts() -> bool:
        return (await ann.emit("say", "lobby", "hello")).get("text") == "HELLO"

    await until(shouts, seconds=CHANGE_SECONDS)
    assert (ann.connected, ann.sid) == (True, sid)
    assert len(family - set(stack.family())) == 1, "only the service was started again"
    code.write_text(written)


async def test_code_that_cannot_be_loaded_is_told_and_waited_for(
    project: Path, stack: OneCommand, ann: StockClient
) -> None:
    code, watching = project / "dice" / "service.py", watcher(stack)
    written = code.read_text()
    code.write_text(written.replace('@router.on("say")', '@router.on("say"'))
    until_blocking(lambda: "SyntaxError: '(' was never closed" in stack.printed, "error", CHANGE_SECONDS)

    async def is_away() -> bool:
        return (await ann.emit("say", "lobby", "hello")).get("error", {}).get("code") == "unavailable"

    await until(is_away, seconds=CHANGE_SECONDS)
    code.write_text(written)

    async def answers() -> bool:
        return (await ann.emit("say", "lobby", "hello"))["ok"]

    await until(answers, seconds=CHANGE_SECONDS)
    assert is_alive(watching)
    assert "dice | parley: dice.service cannot be imported, SyntaxError: '(' was never closed (" in stack.printed


async def test_a_service_whose_process_was_killed_is_started_again(stack: OneCommand, ann: StockClient) -> None:
    watching = watcher(stack)
    service = watching.children()[0]
    watching.kill()
    until_blocking(lambda: "dice | ended with exit code -9; starting it again" in stack.printed, "message")
    until_blocking(lambda: not is_alive(service), "end of the service itself")

    async def answers() -> bool:
        return (await ann.emit("say", "lobby", "hello"))["ok"]

    await until(answers, seconds=CHANGE_SECONDS)
    assert watcher(stack) != watching
