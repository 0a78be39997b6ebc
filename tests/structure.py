"""One word, one thing: no class and no module of the product has another's name; and which modules no test imports.

`make check` runs it. A name that occurs twice on purpose is in one of the tables below, with the reason.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent

SAME_CLASSES = {
    "Settings": "each service has its own, and its process reads just that one",
}
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


def without_tests(paths: list[Path]) -> list[str]:
    """The modules that no test file imports."""
    imported: set[str] = set()
    for path in (ROOT / "tests").glob("**/test_*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                imported |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
            elif isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
    return [shown(path) for path in paths if shown(path).removesuffix(".py").replace("/", ".") not in imported]


def main() -> int:
    """Print what is wrong, and what is only worth knowing. Returns the exit code."""
    paths = list(modules())
    wrong = twice(paths)
    for line in wrong:
        print(f"the same name twice: {line}")  # noqa: T201
    untested = without_tests(paths)
    print(f"{len(paths)} modules, {len(untested)} of which no test imports by name: {', '.join(untested)}")  # noqa: T201
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
