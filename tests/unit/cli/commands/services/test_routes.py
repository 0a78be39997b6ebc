"""`parley routes`, `run` and `asyncapi`: what they print, and how they fail."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from parley.cli.main import app

SERVICE = '''
from typing import Annotated, Literal

import msgspec

from parley.framework import ConnectionContext, Context, Next, Router, Service


class Rolled(msgspec.Struct):
    """What a die showed."""

    value: int


Sides = Annotated[int, msgspec.Meta(ge=2)]
router = Router("/dice")
router.sends("rolled", list[Rolled])
router.sends("cleared")


async def signed_in(connection: ConnectionContext, call_next: Next) -> None: ...
async def outer(context: Context, call_next: Next) -> None: ...
async def inner(context: Context, call_next: Next) -> None: ...


router.use_connection(signed_in)
router.use(outer, inner)


@router.on("roll", pipelined=True, timeout=2.5)
async def roll(context: Context, sides: Sides, how: Literal["fair", "loaded"] = "fair") -> Rolled: ...


@router.on("draw", binary=True)
async def draw(context: Context, *parts: bytes) -> dict[str, int | None]: ...


@router.on("disconnect")
async def gone(context: Context, reason: str, rooms: list[str]) -> None: ...


service = Service("dice", router, Router("/box"))
'''


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with a service in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "dice.py").write_text(SERVICE)
    yield tmp_path
    sys.modules.pop("dice", None)


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, arguments)
    return result.exit_code, result.output


def test_routes_are_a_plain_table_with_one_line_for_each() -> None:
    code, output = run("routes", "dice")
    assert code == 0
    rows = [line.split("  ") for line in output.splitlines()]
    table = [[cell.strip() for cell in row if cell.strip()] for row in rows]
    assert table == [
        ["dice"],
        ["namespace", "event", "payload", "ack", "controller", "flags"],
        ["/dice", "roll", "int, 'fair' | 'loaded'?", "Rolled", "dice:roll", "pipelined timeout=2.5s"],
        ["/dice", "draw", "*bytes", "dict[str, int | None]", "dice:draw", "binary"],
        ["/dice", "disconnect", "str, list[str]", "-", "dice:gone", "lifecycle"],
        ["/dice connection middleware, outermost first: dice:signed_in"],
        ["/dice packet middleware, outermost first: dice:outer, dice:inner"],
        ["/dice sends: rolled (list[Rolled]), cleared"],
        ["/box has no routes"],
    ]


def test_chat_is_shown_by_default_and_several_services_one_after_the_other() -> None:
    code, output = run("routes")
    assert code == 0
    assert output.startswith("chat\n")
    assert "/chat" in output
    assert "message.send" in output
    code, both = run("routes", "parley.chat", "dice")
    assert code == 0
    assert both == output + "\n" + run("routes", "dice")[1]


@pytest.mark.parametrize("command", ["run", "routes", "asyncapi"])
def test_a_service_that_is_not_there_is_one_line_and_exit_code_1(command: str, folder: Path) -> None:
    assert run(command, "nosuch") == (
        1, f"parley: there is no module nosuch in {folder} or among the installed packages\n"
    )  # fmt: skip


def test_a_document_is_printed_or_written(folder: Path) -> None:
    code, printed = run("asyncapi", "dice")
    assert code == 0
    document = json.loads(printed)
    assert document["asyncapi"].startswith("3.")
    assert document["info"]["title"] == "dice"
    assert run("asyncapi", "dice", "--output", "dice.json") == (0, "")
    assert (folder / "dice.json").read_text() == printed
    for form, begin in (("markdown", "# "), ("html", "<!doctype html>")):
        code, printed = run("asyncapi", "dice", "--format", form)
        assert (code, printed[: len(begin)].lower()) == (0, begin)


def test_a_document_that_cannot_be_written_is_one_line() -> None:
    assert run("asyncapi", "dice", "--output", "nosuch/dice.json") == (
        1, "parley: cannot write nosuch/dice.json: No such file or directory\n"
    )  # fmt: skip


def test_the_commands_explain_themselves() -> None:
    for arguments in (("run",), ("routes",), ("asyncapi",), ("new",), ("new", "service")):
        code, output = run(*arguments, "--help")
        assert code == 0
        assert "Usage: " in output
