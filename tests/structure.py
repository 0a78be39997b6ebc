"""The order of names and tests.

One word for one thing, reading orders that name every module, tests where their modules are, what they share in one
place.

`make check` runs it. A name that occurs twice on purpose is in one of the tables below, with the reason.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
TESTS = ROOT / "tests"
TIERS = {"unit", "integration", "acceptance"}
"""Folders that hold tests and nothing else."""
MIRRORS = {"unit", "integration"}
"""Folders in which tests lie as the packages do that they are about."""
BESIDE_PACKAGES = {"docs", "web"}
"""What else there is to test."""

SAME_CLASSES: dict[str, str] = {}
SAME_MODULES = {
    "app": "each service has its own",
    "service": "what chat is to its process, and what every service is written with",
    "state": "what a service holds, and what a room is",
    "settings": "each service has its own",
    "database": "each service that has a schema has its own",
    "tables": "each service that has a schema has its own",
    "metrics": "each process counts what it does",
    "server": "each protocol has its own",
    "client": "each protocol has its own",
    "packets": "each protocol has its own",
    "rooms": "a subject of chat has one module in each of its layers",
}
NAMED_AFTER_ANOTHER = {
    "parley/common/wire/": "a conversation is named like who has it",
    "parley/cli/commands/": "a command's module is named like what is typed",
    "parley/chat/api/": "what is answered is named like what is asked",
    "parley/auth/http/": "what is answered over HTTP is named like what it is about",
}


def modules() -> Iterator[Path]:
    """Every module of the product that has a name of its own."""
    for part in ("libs", "services", "cli"):
        for path in sorted((ROOT / part).glob("**/src/**/*.py")):
            if not path.stem.startswith("__") and "templates" not in path.parts:
                yield path


def shown(path: Path) -> str:
    """A module's path below `src`."""
    return path.as_posix().partition("/src/")[2]


def twice(paths: list[Path]) -> list[str]:
    """What occurs twice without a reason, a line each."""
    classes, files = defaultdict[str, list[str]](list), defaultdict[str, list[str]](list)
    for path in paths:
        if not shown(path).startswith(tuple(NAMED_AFTER_ANOTHER)):
            files[path.stem].append(shown(path))
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                classes[node.name].append(shown(path))
    kinds = (("class", classes, SAME_CLASSES), ("module", files, SAME_MODULES))
    return [
        f"{kind} {name}: {', '.join(places)}"
        for kind, found, allowed in kinds
        for name, places in sorted(found.items())
        if len(places) > 1 and name not in allowed
    ] + [
        f"{kind} {name} is allowed to, and does not"
        for kind, found, allowed in kinds
        for name in allowed
        if len(found[name]) < 2
    ]


def not_in_reading_order(paths: list[Path]) -> list[str]:
    """The modules and packages that the docstring of their package does not name, a line each."""
    wrong: list[str] = []
    for folder in sorted({path.parent for path in paths if (path.parent / "__init__.py").exists()}):
        text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text("utf-8"))) or ""
        named = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]+)`", text))))
        held = [path.stem for path in folder.glob("*.py") if not path.stem.startswith("__")]
        held += [path.parent.name for path in folder.glob("*/__init__.py") if path.parent.name != "templates"]
        wrong += [f"{shown(folder)}/__init__.py leaves out {name}" for name in sorted({*held} - named)]
    return wrong


def imports_of(path: Path) -> set[str]:
    """What a file imports: modules, and what it takes from them, with their full names."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


def without_tests(paths: list[Path]) -> list[str]:
    """The modules that no test imports, itself or through their package, and that have no test of their name."""
    offered = {
        name: given
        for path in ROOT.glob("*/**/src/parley/**/__init__.py")
        for given in imports_of(path)
        for name in [f"{shown(path.parent).replace('/', '.')}.{given.rpartition('.')[2]}"]
    }
    imported: set[str] = set()
    for path in test_files():
        used = imports_of(path)
        used |= {offered[name] for name in used if name in offered}
        imported |= used | {name.rpartition(".")[0] for name in used}
    tested = {path.relative_to(TESTS).as_posix().partition("/")[2] for path in test_files()}
    return [
        name
        for name in map(shown, paths)
        if name.removesuffix(".py").replace("/", ".") not in imported
        and re.sub(r"^parley/(.*?)(\w+\.py)$", r"\1test_\2", name) not in tested
    ]


def test_files() -> list[Path]:
    """Every file below `tests` that is Python."""
    return [path for path in sorted(TESTS.glob("**/*.py")) if "node_modules" not in path.parts]


def is_test(name: str) -> bool:
    """Whether a module of this name is for pytest alone."""
    return name.startswith("test_") or name == "conftest"


def imported_modules(path: Path) -> list[str]:
    """The modules below `tests` that a file imports, or imports from."""
    nodes = ast.walk(ast.parse(path.read_text("utf-8")))
    modules = {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    return sorted(module for module in modules if module.startswith("tests."))


def misplaced(paths: list[Path]) -> list[str]:
    """Tests that lie elsewhere than what they are about, and what is shared elsewhere than in `tests/support`.

    A test imports from `tests.support`, from what belongs to its own program, and from programs that have no tests.
    """
    packages = {shown(path.parent).removeprefix("parley/") for path in paths}
    with_tests = {path.relative_to(TESTS).parts[0] for path in test_files() if path.stem.startswith("test_")}
    wrong: list[str] = []
    for path in test_files():
        folder, *inner = path.relative_to(TESTS).parts
        if folder in TIERS and not is_test(path.stem) and path.stem != "__init__":
            wrong.append(f"{shown_test(path)} is no test: it belongs into tests/support")
        if folder in MIRRORS and path.stem.startswith("test_") and inner[:-1] != [] and inner[0] not in BESIDE_PACKAGES:
            place = "/".join(inner[:-1])
            if place not in packages:
                wrong.append(f"{shown_test(path)} is about no package: there is no parley/{place}")
        if folder in MIRRORS and path.stem.startswith("test_") and len(inner) == 1:
            wrong.append(f"{shown_test(path)} belongs into the folder of the package that it is about")
        for name in imported_modules(path):
            source, *_ = parts = name.split(".")[1:]
            allowed = source == "support" or source not in with_tests or (source == folder and folder not in TIERS)
            if not allowed or any(map(is_test, parts)):
                wrong.append(f"{shown_test(path)} imports from {name}")
    return wrong


def shown_test(path: Path) -> str:
    """A test's path in the repository."""
    return path.relative_to(ROOT).as_posix()


def main() -> int:
    """Print what is wrong, and what is only worth knowing. Returns the exit code."""
    paths = list(modules())
    wrong = [f"the same name twice: {line}" for line in twice(paths)] + not_in_reading_order(paths) + misplaced(paths)
    for line in wrong:
        print(line)  # noqa: T201
    untested = without_tests(paths)
    print(f"{len(paths)} modules, {len(untested)} of which no test imports or is named after: {', '.join(untested)}")  # noqa: T201
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
