"""What the documents name exists: modules, files, classes of the wire, metrics, and the tests that prove a promise."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
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
FOLDERS = {"services", "libs", "cli", "testing", "tests", "deploy", "migrations", "bench", "docs", "web"}
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


def test_every_metric_is_documented_and_nothing_else_is():
    sources = [path for package in PACKAGES.values() for path in package.rglob("*.py")]
    declared = {
        f"{name}_total" if kind == "Counter" and not name.endswith("_total") else name
        for path in sources
        for kind, name in re.findall(r"(Counter|Gauge|Histogram|Tally)\(\s*\"(\w+)\"", path.read_text("utf-8"))
    }
    documented = re.findall(r"^\| `(parley_\w+)` \|", (ROOT / "docs/operations.md").read_text("utf-8"), re.MULTILINE)
    assert sorted(declared) == sorted(documented)
