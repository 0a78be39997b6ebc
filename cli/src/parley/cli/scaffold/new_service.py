"""A new service in the working directory: its package, a test, and its place in the project's configuration."""

from __future__ import annotations

import keyword
import re
import sys
from dataclasses import dataclass, field
from importlib.machinery import PathFinder
from pathlib import Path

from parley.cli import bundled_files
from parley.cli.failure import CommandFailure
from parley.cli.scaffold import compose_file
from parley.cli.scaffold.namespaces_file import NAMESPACES, STOCK, with_namespace

TEMPLATES = Path(__file__).parent / "templates"
TAKEN = STOCK | {"parley", "tests"}
_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
"""Names that a Python package, a service, a namespace and an image may all have."""
MAX_NAME = 64
PYTEST = ('asyncio_mode = "auto"', 'pythonpath = ["."]')
"""The settings that tests of services need and pytest does not have by default."""


@dataclass
class ServiceFiles:
    """What will be written. All of it is known, and possibly refused, before anything is written."""

    new: dict[Path, str] = field(default_factory=dict[Path, str])
    changed: dict[Path, str] = field(default_factory=dict[Path, str])
    notes: list[str] = field(default_factory=list[str])

    def write(self) -> None:
        """Write the files. Raises `CommandFailure` for what the system refuses."""
        try:
            for path, text in self.new.items():
                path.parent.mkdir(parents=True, exist_ok=True)
                # "x": a file that came into being meanwhile is not overwritten.
                with path.open("x", encoding="utf-8") as file:
                    file.write(text)
            for path, text in self.changed.items():
                path.write_text(text, "utf-8")
        except OSError as error:
            raise CommandFailure(f"cannot write {error.filename}: {error.strerror}") from error


def plan_service(name: str) -> ServiceFiles:
    """Plan the files of a service with this name.

    Raises `CommandFailure` if the name is not allowed or already taken.
    """
    _check_name(name)
    planned = ServiceFiles()
    for path, template in (
        (Path(name, "__init__.py"), "__init__.py.txt"),
        (Path(name, "service.py"), "service.py.txt"),
        (Path(name, "Dockerfile"), "Dockerfile.txt"),
        (Path("tests", f"test_{name}.py"), "test_service.py.txt"),
    ):
        planned.new[path] = _template(template).replace("NAME", name)
    # Everything that could fail is looked at before the first file is written.
    for path in planned.new:
        if path.exists():
            raise CommandFailure(f"{path} exists already; nothing was written")
    pyproject = Path("pyproject.toml")
    if pyproject.exists():
        if "asyncio_mode" not in pyproject.read_text("utf-8"):
            planned.notes.append(
                f"{pyproject} is left as it is; the test needs {', '.join(PYTEST)} in [tool.pytest.ini_options]."
            )
    else:
        planned.new[pyproject] = _template("pyproject.toml.txt")
    ignored = Path(".gitignore")
    if not ignored.exists():
        planned.new[ignored] = _template("gitignore.txt")
    else:
        lines = {line.strip().strip("/") for line in ignored.read_text("utf-8").splitlines()}
        if missing := [name for name in (".parley", ".env") if name not in lines]:
            planned.notes.append(f"{ignored} is left as it is; add {' and '.join(missing)}, which hold secrets.")
    mounted = _plan_compose(planned, name)
    _plan_namespaces(planned, name, mounted)
    return planned


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name) or len(name) > MAX_NAME or keyword.iskeyword(name):
        raise CommandFailure(
            f"{name!r} cannot be a service's name: that is lower-case letters and digits, words joined by _, "
            "beginning with a letter, and no Python keyword"
        )
    if name in TAKEN:
        raise CommandFailure(f"{name} is a part of Parley; choose another name")
    if Path(name).exists() or Path(f"{name}.py").exists():
        raise CommandFailure(f"{name if Path(name).exists() else f'{name}.py'} exists already; nothing was written")
    # The working directory itself is left out: what is there was looked at above.
    elsewhere = [entry for entry in sys.path if Path(entry).resolve() != Path.cwd()]
    # Asked of the finder and not imported, which would run somebody's code.
    if name in sys.stdlib_module_names or PathFinder.find_spec(name, elsewhere) is not None:
        raise CommandFailure(
            f"{name} is the name of an installed Python module, which it would hide; choose another name"
        )


def _plan_compose(planned: ServiceFiles, name: str) -> Path | None:
    """Plan the compose file.

    Returns the namespaces file that its gateway reads, if that is another than the project's.
    """
    existing = compose_file.find()
    if existing is None:
        written = compose_file.with_service(compose_file.layout(), name, compose_file.WRITTEN)
        planned.new[compose_file.WRITTEN] = written
        for relative in ("deploy/nginx/nginx.conf", ".env.example"):
            if not Path(relative).exists():
                planned.new[Path(relative)] = bundled_files.find(relative).read_text("utf-8")
        return None
    text = existing.read_text("utf-8")
    # A project's own file keeps its layout; without one, the whole production layout is written.
    planned.changed[existing] = compose_file.with_service(text, name, existing)
    mounted = compose_file.mounted_namespaces(text, existing)
    if mounted is None:
        planned.notes.append(
            f"The gateway in {existing} is given no namespaces file: mount ./{NAMESPACES} into it and set "
            "PARLEY_NAMESPACES_FILE to where."
        )
    elif not mounted.is_file():
        if mounted.resolve() != NAMESPACES.resolve():
            raise CommandFailure(f"the gateway in {existing} reads {mounted}, which is not there; nothing was written")
        return None
    return mounted


def _plan_namespaces(planned: ServiceFiles, name: str, mounted: Path | None) -> None:
    """Plan the project's namespaces file, and the one of the compose file's gateway if that is another."""
    if mounted is not None and mounted.resolve() == NAMESPACES.resolve():
        mounted = None
    if mounted is not None:
        planned.changed[mounted] = with_namespace(mounted.read_text("utf-8"), name, mounted)
    if NAMESPACES.exists():
        planned.changed[NAMESPACES] = with_namespace(NAMESPACES.read_text("utf-8"), name, NAMESPACES)
    elif mounted is not None:
        planned.new[NAMESPACES] = planned.changed[mounted]
    else:
        planned.new[NAMESPACES] = with_namespace(_template("namespaces.toml.txt"), name, NAMESPACES)


def _template(name: str) -> str:
    return (TEMPLATES / name).read_text("utf-8")
