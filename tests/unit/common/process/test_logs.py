"""Log lines are short, whatever is logged, as JSON and at a terminal."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Callable
from typing import Any, Literal

import pytest
import structlog

from parley.common.process import logs
from parley.common.process.log_limits import MAX_FRAMES, MAX_LINE, MAX_VALUE, cut, format_exception
from parley.common.process.settings import ServiceSettings

Logged = Callable[[Callable[[], object]], str]


@pytest.fixture(params=["json", "console"])
def logged(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> Logged:
    """What is written to the log while something runs."""
    form: Literal["json", "console"] = request.param

    def run(work: Callable[[], object]) -> str:
        root = logging.getLogger()
        before, level, configured = root.handlers[:], root.level, structlog.get_config()
        logs.configure(ServiceSettings(log_format=form), "test")
        try:
            work()
        finally:
            root.handlers[:] = before
            root.setLevel(level)
            structlog.configure(**configured)
        line = capsys.readouterr().err
        if form == "json":
            json.loads(line)
        return line

    return run


def deep(levels: int) -> None:
    if levels:
        deep(levels - 1)
        return
    raise LookupError("at the bottom")


def zig(levels: int) -> None:
    zag(levels - 1) if levels else deep(1)


def zag(levels: int) -> None:
    zig(levels - 1) if levels else deep(1)


def failed(work: Callable[[], object]) -> Exception:
    try:
        work()
    except (LookupError, ValueError, RecursionError) as error:
        return error
    raise AssertionError("it did not fail")


def chained(length: int) -> Exception:
    error: Exception = ValueError("the first")
    for number in range(length):
        later = RuntimeError(f"number {number}")
        later.__cause__, error = error, later
    return error


def grouped() -> ExceptionGroup[Exception]:
    return ExceptionGroup("several", [failed(lambda: zig(500)) for _ in range(200)])


class Unspeakable:
    def __repr__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    "make",
    [
        lambda: failed(lambda: zig(900)),
        lambda: failed(lambda: deep(900)),
        lambda: failed(lambda: json.loads("[" * 100_000)),
        lambda: chained(500),
        grouped,
        lambda: ValueError("x" * 1_000_000),
        lambda: ValueError("\x00" * 10_000),
    ],
    ids=["two functions", "one function", "in C", "causes", "group", "long text", "escapes"],
)
def test_a_line_with_a_traceback_is_short(logged: Logged, make: Callable[[], Exception]):
    error = make()
    line = logged(lambda: logs.get_logger("parley.test").error("it failed", exc_info=error))
    assert len(line.encode()) <= MAX_LINE
    assert line.count(", in ") <= MAX_FRAMES


@pytest.mark.parametrize(
    "value",
    [
        "x" * 1_000_000,
        "\x1b🙂" * 100_000,
        10**5_000,
        b"\x00" * 100_000,
        [["x" * 500] * 500] * 500,
        {f"key {number}": "x" * 500 for number in range(500)},
        [{"a": "b" * 40}] * 19,
        Unspeakable(),
        {1, 2},
        float("nan"),
    ],
    ids=["text", "escapes", "number", "bytes", "list", "mapping", "mappings", "unspeakable", "set", "nan"],
)
def test_a_line_with_a_long_value_is_short(logged: Logged, value: Any):
    line = logged(lambda: logs.get_logger("parley.test").error("said", value=value))
    assert len(line.encode()) <= 2 * MAX_VALUE
    assert "said" in line


def test_a_line_with_many_fields_is_short(logged: Logged):
    fields = {f"field{number}": "x" * 900 for number in range(1_000)} | {"y" * 5_000: 1}
    line = logged(lambda: logs.get_logger("parley.test").error("said", **fields))
    assert len(line.encode()) <= MAX_LINE * 1.2
    assert "said" in line


def test_a_line_of_the_standard_library_is_short(logged: Logged):
    def log() -> None:
        try:
            deep(900)
        except LookupError:
            logging.getLogger("asyncio").exception("said %s", "x" * 100_000)

    line = logged(log)
    assert len(line.encode()) <= MAX_LINE
    assert "at the bottom" in line


def test_what_hangs_in_itself_is_logged(logged: Logged):
    circle: list[Any] = []
    circle.append(circle)
    nested: Any = 1
    for _ in range(5_000):
        nested = [nested]
    assert len(logged(lambda: logs.get_logger("parley.test").error("said", circle=circle, nested=nested))) < MAX_LINE


def test_short_values_are_logged_as_they_are(capsys: pytest.CaptureFixture[str], logged: Logged):
    said: dict[str, Any] = {}

    def log() -> None:
        logs.get_logger("parley.test").error("said", a=1, b=None, c=[1, "x"], d={"x": True}, e=0.5, f="ä", g=2**70)

    line = logged(log)
    if line.startswith("{"):
        said = json.loads(line)
        expected = {"event": "said", "a": 1, "b": None, "c": [1, "x"], "d": {"x": True}, "e": 0.5, "f": "ä", "g": 2**70}
        assert said == said | expected


def test_a_short_traceback_is_pythons_own():
    error = failed(lambda: zig(3))
    assert format_exception(error) == "".join(traceback.format_exception(error)).rstrip("\n")


def test_of_a_long_traceback_both_ends_are_shown():
    text = format_exception(failed(lambda: zig(300)))
    assert "in failed" in text
    assert "more frames" in text
    assert text.endswith("LookupError: at the bottom")


def test_causes_are_shown_first_and_named():
    text = format_exception(chained(2))
    assert text.index("ValueError: the first") < text.index("number 0") < text.index("number 1")
    assert text.count("direct cause") == 2


def test_a_text_is_cut_in_its_middle():
    assert cut("short", 100) == "short"
    assert cut("a" * 500 + "b" * 500, 100).startswith("aaa")
    assert cut("a" * 500 + "b" * 500, 100).endswith("bbb")
