"""Finding a service by name: what is found, and that every failure says what was looked for, where."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from parley.framework.running.loading import ServiceNotFound, load_service

SERVICE = 'from parley.framework import Router, Service\nservice = Service("{0}", Router("/{0}"))\n'


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working directory; what is imported from it is forgotten."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def write(path: str, text: str = "") -> None:
    Path(path).parent.mkdir(exist_ok=True)
    Path(path).write_text(text)


def refusal(target: str) -> str:
    with pytest.raises(ServiceNotFound) as raised:
        load_service(target)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_a_name_alone_is_a_module_or_the_service_in_a_package() -> None:
    write("coins.py", SERVICE.format("coins"))
    write("dice/__init__.py")
    write("dice/service.py", SERVICE.format("dice"))
    write("cards/__init__.py", SERVICE.format("cards"))
    assert [load_service(name).name for name in ("coins", "dice", "cards", "dice.service")] == [
        "coins",
        "dice",
        "cards",
        "dice",
    ]
    assert load_service("dice") is load_service("dice"), "the submodule that is an attribute by now is no service"


def test_an_attribute_may_be_named() -> None:
    write("pair.py", SERVICE.format("one") + SERVICE.format("two").replace("service =", "other ="))
    assert (load_service("pair:other").name, load_service("pair:service").name) == ("two", "one")


def test_the_working_directory_comes_first(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    write("elsewhere/coins.py", SERVICE.format("hidden"))
    sys.path.insert(0, str(tmp_path / "elsewhere"))
    write("coins.py", SERVICE.format("shown"))
    assert load_service("coins").name == "shown"


def test_a_module_that_is_not_there(folder: Path) -> None:
    assert refusal("nosuch") == f"there is no module nosuch in {folder} or among the installed packages"
    assert "there is no module nosuch.service in" in refusal("nosuch.service:service")


def test_an_attribute_that_is_not_there(folder: Path) -> None:
    write("coins.py")
    write("dice/__init__.py")
    assert refusal("coins") == f"coins ({folder}/coins.py) has no attribute service"
    assert refusal("coins:other") == f"coins ({folder}/coins.py) has no attribute other"
    assert refusal("dice") == (
        f"dice ({folder}/dice/__init__.py) has no attribute service, and there is no module dice.service"
    )
    write("dice/service.py")
    assert refusal("dice") == (
        f"neither dice ({folder}/dice/__init__.py) nor dice.service ({folder}/dice/service.py) has an attribute service"
    )


def test_what_is_no_service() -> None:
    write("coins.py", "service = 42\n")
    assert refusal("coins") == "coins:service is a int, not a Service of parley.framework"


@pytest.mark.parametrize("target", ["", "dice/service.py", "dice:", "dice:a.b", ".dice", "dice-box"])
def test_what_is_no_name(target: str) -> None:
    assert refusal(target).startswith(f"{target!r} names no service: it is written module or module:attribute")


def test_an_error_inside_shows_itself_and_its_line(folder: Path) -> None:
    write("dice/__init__.py")
    write("dice/service.py", "import math\n\nmath.nosuch()\n")
    assert refusal("dice") == (
        "dice.service cannot be imported, AttributeError: module 'math' has no attribute 'nosuch' "
        f"({folder}/dice/service.py, line 3: math.nosuch())"
    )


def test_a_module_missing_inside_is_not_the_one_looked_for(folder: Path) -> None:
    write("coins.py", "import nosuch_library\n")
    assert refusal("coins") == (
        "coins cannot be imported, ModuleNotFoundError: No module named 'nosuch_library' "
        f"({folder}/coins.py, line 1: import nosuch_library)"
    )


def test_a_syntax_error_shows_its_line(folder: Path) -> None:
    write("coins.py", "x = 1\ny = (\n")
    assert refusal("coins") == (
        f"coins cannot be imported, SyntaxError: '(' was never closed ({folder}/coins.py, line 2: y = ()"
    )


def test_an_error_that_the_framework_raises_shows_the_line_of_the_project(folder: Path) -> None:
    write(
        "coins.py",
        'from parley.framework import Context, Router\nrouter = Router("/coins")\n\n'
        "async def toss(context: Context) -> None: ...\n\n"
        'router.route("toss", toss)\nrouter.route("toss", toss)\n',
    )
    assert refusal("coins") == (
        "coins cannot be imported, ValueError: /coins toss is routed twice: coins:toss "
        f'({folder}/coins.py, line 7: router.route("toss", toss))'
    )
