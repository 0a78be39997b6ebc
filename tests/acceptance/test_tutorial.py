"""The tutorial does what it says: each of its blocks is written, or run, in the order in which a reader meets them."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.clients.stock_clients import HAS_JS_CLIENT
from tests.support.paths import ROOT
from tests.support.ports import free_port
from tests.support.readiness import is_ready
from tests.support.stack.compose import Compose, why_not
from tests.support.waiting import until, until_blocking

TUTORIAL = ROOT / "docs" / "tutorial.md"
_BLOCK = re.compile(r"(?:<!-- (?P<mark>[^\n]+) -->\n)?```(?P<language>\w+)\n(?P<text>.*?)```\n", re.DOTALL)
SECONDS = 60.0

pytestmark = pytest.mark.skipif(not HAS_JS_CLIENT, reason="needs Node and npm ci in web/: the stock JS client")


class Block(NamedTuple):
    """One block of code, and what its mark says is to be done with it."""

    mark: str
    language: str
    text: str


def blocks() -> Iterator[Block]:
    """The tutorial's blocks in order."""
    for found in _BLOCK.finditer(TUTORIAL.read_text("utf-8")):
        yield Block(found["mark"] or "", found["language"], found["text"])


class Reader:
    """Somebody who follows the tutorial in a folder."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        binaries = str(Path(sys.executable).parent)
        self.environment = os.environ | {"PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}"}
        self.printed = ""
        self.again: str | None = None
        """A command whose effect may take a moment, to be run until it prints what it should."""
        self.background: list[subprocess.Popen[bytes]] = []

    def follow(self, block: Block) -> None:
        """Do what a block says."""
        action, _, rest = block.mark.partition(": ")
        text = block.text.replace("8000", str(self.port))
        match action:
            case "file":
                self._path(rest).write_text(text, "utf-8")
            case "insert":
                self._insert(rest, text)
            case "replace":
                self._replace(self._path(rest), text)
            case "run":
                self.printed = self.run(text)
            case "run until it prints":
                self.again = text
            case "background":
                self._start(text.strip())
            case "again":
                self.stop()
                self._start(text.strip())
            case "prints":
                self._check(text)
            case "logs":
                self._await_logged(text)
            case "docker" | "":
                # What installs from an index is left to the reader, what needs an engine to the next test.
                assert re.search(r"install|docker", text), f"nobody follows this block:\n{text}"
            case _:
                raise AssertionError(f"what is {block.mark!r}?")

    def _path(self, name: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        return path

    def _insert(self, where: str, text: str) -> None:
        name, place, anchor = re.fullmatch(r"(\S+) (before|after): (.+)", where).groups()  # pyright: ignore[reportOptionalMemberAccess]
        path = self._path(name)
        lines = path.read_text("utf-8").splitlines(keepends=True)
        (number,) = [number for number, line in enumerate(lines) if line.startswith(anchor)]
        number += place == "after"
        gap = "\n\n" if place == "before" else ""
        path.write_text("".join([*lines[:number], text, gap, *lines[number:]]), "utf-8")

    @staticmethod
    def _replace(path: Path, text: str) -> None:
        old = "".join(line[1:] for line in text.splitlines(keepends=True) if line.startswith("-"))
        new = "".join(line[1:] for line in text.splitlines(keepends=True) if line.startswith("+"))
        content = path.read_text("utf-8")
        assert content.count(old) == 1, f"{old!r} is not once in {path}"
        path.write_text(content.replace(old, new), "utf-8")

    def run(self, command: str, seconds: float = SECONDS) -> str:
        """Run a command in the folder and return what it printed."""
        done = subprocess.run(
            ["bash", "-ec", command], cwd=self.folder, env=self.environment, capture_output=True, text=True,
            timeout=seconds, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def _start(self, command: str) -> None:
        assert command == "parley up"
        with (self.folder / "up.log").open("ab") as log:
            self.background.append(
                subprocess.Popen(
                    [*command.split(), "--port", str(self.port)],
                    cwd=self.folder,
                    env=self.environment,
                    stdout=log,
                    stderr=log,
                )
            )

    def _check(self, expected: str) -> None:
        """The client's run is over when its own service has restarted, which takes a moment after a change."""
        wanted = expected.splitlines()
        deadline = time.monotonic() + SECONDS
        printed = self.printed if self.again is None else self.run(self.again)
        while sorted(printed.splitlines()) != sorted(wanted) and self.again and time.monotonic() < deadline:
            printed = self.run(self.again)
        self.again = None
        # A broadcast and an ack overtake each other.
        assert sorted(printed.splitlines()) == sorted(wanted), self.log()

    def _await_logged(self, expected: str) -> None:
        """Wait until `parley up` has shown these lines, in which … stands for anything."""
        patterns = [re.escape(line).replace("…", ".*") for line in expected.splitlines()]
        until_blocking(
            lambda: all(re.search(pattern, self.log()) for pattern in patterns),
            lambda: f"{patterns} is in\n{self.log()}",
            seconds=SECONDS,
        )

    async def up(self) -> None:
        """Wait until what was started in the background can serve."""

        async def ready() -> bool:
            assert all(process.poll() is None for process in self.background), self.log()
            return await is_ready(f"http://127.0.0.1:{self.port}")

        await until(ready, "`parley up` is ready", seconds=SECONDS)

    def log(self) -> str:
        """What `parley up` said."""
        log = self.folder / "up.log"
        return log.read_text(errors="replace")[-4000:] if log.exists() else ""

    def stop(self) -> None:
        """Ctrl-C."""
        for process in self.background:
            process.send_signal(signal.SIGINT)
        assert [process.wait(30) for process in self.background] == [0] * len(self.background), self.log()
        self.background.clear()


async def test_who_follows_the_tutorial_gets_there(tmp_path: Path):
    folder = tmp_path / "auction-house"
    folder.mkdir()
    (folder / "node_modules").symlink_to(ROOT / "web" / "node_modules")
    reader = Reader(folder, free_port())
    try:
        for block in blocks():
            await asyncio.to_thread(reader.follow, block)
            if block.mark in {"background", "again"}:
                await reader.up()
    finally:
        await asyncio.to_thread(reader.stop)


@pytest.mark.docker
@pytest.mark.timeout(1800)  # building the image the first time takes minutes
async def test_what_the_tutorial_deploys_serves_its_client(tmp_path: Path):
    if reason := why_not():
        pytest.skip(reason)
    Compose(tmp_path).run("build", "auth")
    folder = tmp_path / f"auction-{uuid.uuid4().hex[:8]}"
    folder.mkdir()
    (folder / "node_modules").symlink_to(ROOT / "web" / "node_modules")
    reader = Reader(folder, 8000)
    reader.environment |= {"PARLEY_IMAGE": "parley-test", "PARLEY_PUBLISH": "127.0.0.1:0"}
    steps = list(blocks())
    (command,) = [block.text for block in steps if block.mark == "docker"]
    (begin, *_) = [block for block in steps if block.mark == "run"]
    expected = [block.text for block in steps if block.mark == "prints"][2]
    try:
        for block in steps:
            if block is begin or block.mark.startswith(("file", "insert", "replace")):
                reader.follow(block)
        await asyncio.to_thread(reader.run, command, 600)
        port = reader.run("docker compose port nginx 80").strip().rpartition(":")[2]
        reader.follow(Block("file: client.mjs", "js", (folder / "client.mjs").read_text().replace("8000", port)))
        printed = await asyncio.to_thread(reader.run, "node client.mjs")
        assert sorted(printed.splitlines()) == sorted(expected.splitlines())
    finally:
        reader.run("docker compose down --volumes --timeout 5")


def test_every_block_of_the_tutorial_is_followed():
    found = list(blocks())
    assert len(found) == TUTORIAL.read_text("utf-8").count("```") // 2
    assert shutil.which("bash")
    assert sum(block.mark == "" for block in found) == 2, "only what installs is left to the reader"
