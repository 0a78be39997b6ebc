"""What the documents name exists: modules, files, classes of the wire, and the tests that prove a promise."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from functools import cache
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest

from parley.common.wire import (
    admin,
    codec,
    commands,
    connections,
    consumers,
    identity,
    operations,
    presence,
    processes,
    recovery,
    rooms,
)
from tests.support.paths import ROOT

DOCUMENTS = sorted([*ROOT.glob("docs/*.md"), *(ROOT / name for name in ("README.md", "CONTRIBUTING.md"))])
DECISIONS = sorted(ROOT.glob("docs/adr/0*.md"))
PACKAGES = {path.name: path for path in ROOT.glob("**/src/parley/*") if ".venv" not in path.parts}
FOLDERS = {"services", "libs", "cli", "tests", "deploy", "migrations", "bench", "docs", "web"}
FILES = [
    path
    for folder in sorted(FOLDERS | {"examples"})
    for path in sorted((ROOT / folder).rglob("*.*"))
    if not {"node_modules", ".venv", "site"} & set(path.parts) and path.is_file()
] + sorted(path for path in ROOT.glob("*.*") if path.is_file())
CODE = re.compile(r"`([^`\n]+)`")
WIRE = (admin, codec, commands, connections, consumers, identity, operations, presence, processes, recovery, rooms)


def quoted(document: Path) -> Iterator[str]:
    """Everything that stands in backticks, outside of blocks of code."""
    yield from CODE.findall(re.sub(r"^```.*?^```", "", document.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE))


def exists(path: str) -> bool:
    first, _, rest = path.partition("/")
    places = [ROOT / path] if first in FOLDERS else []
    if first in PACKAGES:
        places.append(PACKAGES[first] / rest)
    return any(place.exists() for place in places)


@cache
def words() -> set[str]:
    """Every word of our code."""
    return {word for path in FILES if path.suffix == ".py" for word in re.findall(r"\w+", path.read_text("utf-8"))}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_path_that_a_document_names_exists(document: Path):
    named = {
        name
        for name in quoted(document)
        if re.fullmatch(r"[\w.-]+(/[\w.-]+)*/([\w.-]+\.\w+)?", name)
        and name.partition("/")[0] in FOLDERS | PACKAGES.keys()
        and not re.search(r"[A-Z]{4}", name)  # NAME stands for one
    }
    assert {name for name in named if not exists(name)} == set()


@pytest.mark.parametrize("document", DECISIONS, ids=lambda path: path.name)
def test_every_file_and_type_that_a_decision_names_exists(document: Path):
    """Decisions name files by the end of their path, and types of ours; what a replaced one had is told in words."""
    found = [f"/{path.relative_to(ROOT)}" for path in FILES]
    files = {name for name in quoted(document) if re.fullmatch(r"[\w./-]+\.(py|toml|yml)", name)}
    folders = {name for name in quoted(document) if re.fullmatch(r"[\w-]+(/[\w-]+)*/", name)}
    types = {name for name in quoted(document) if re.fullmatch(r"([A-Z]+[a-z]+)+(\.\w+)*", name)}
    assert {name for name in files if not any(path.endswith(f"/{name}") for path in found)} == set()
    assert {name for name in folders if not any(f"/{name}" in path for path in found)} == set()
    assert {name for name in types if not words().issuperset(name.split("."))} == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_module_and_class_that_a_document_names_exists(document: Path):
    def resolves(name: str) -> bool:
        parts = name.split(".")
        modules = list(takewhile(str.islower, parts))
        while modules:
            try:
                found: Any = importlib.import_module(".".join(modules))
            except ModuleNotFoundError:
                modules.pop()
                continue
            for attribute in parts[len(modules) :]:
                found = getattr(found, attribute, None)
            return found is not None and modules != ["parley"]
        return False

    named = {name for name in quoted(document) if re.fullmatch(r"parley(\.\w+)+", name)}
    assert {name for name in named if not resolves(name)} == set()


@pytest.mark.parametrize("document", [*DOCUMENTS, *DECISIONS], ids=lambda path: path.name)
def test_every_test_that_a_document_names_exists(document: Path):
    tests = [path for path in ROOT.glob("tests/**/test_*.py") if "node_modules" not in path.parts]
    known = {path.name for path in tests}
    for path in tests:
        known.update(re.findall(r"def (test_\w+)", path.read_text("utf-8")))
    named = {name for name in quoted(document) if re.fullmatch(r"test_\w+(\.py)?", name)}
    assert named - known == set()
    paths = {name for name in quoted(document) if re.fullmatch(r"tests/[a-z0-9_./]+", name)}
    assert {path for path in paths if not (ROOT / path).exists()} == set()


def test_every_envelope_in_the_table_of_subjects_is_a_type_of_the_wire():
    section = (ROOT / "docs/protocol.md").read_text("utf-8").split("| subject | kind |", 1)[1].split("\n\n", 1)[0]
    named = set(re.findall(r"`([A-Z]\w+)`", section))
    assert {name for name in named if not any(hasattr(module, name) for module in WIRE)} == set()
    assert {"CommandBatch", "Delivery", "ConnectRequest"} <= named


def test_every_word_of_the_glossary_is_used_in_the_code():
    rows = re.findall(r"^\| (\*\*.*?) \| ", (ROOT / "docs/glossary.md").read_text("utf-8"), re.MULTILINE)
    assert rows == sorted(rows, key=lambda row: re.sub(r"\W", "", row.lower())), "in alphabetical order"
    named = {word for row in rows for bold in re.findall(r"\*\*(.+?)\*\*", row) for word in bold.lower().split(" / ")}
    text = " ".join(path.read_text("utf-8") for path in FILES if "src" in path.parts and path.suffix == ".py")
    spaced = " ".join(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text).replace("_", " ").replace("#", " ").split()).lower()
    assert {word for word in named if re.sub(r"\W+", " ", word).strip() not in spaced} == set()
