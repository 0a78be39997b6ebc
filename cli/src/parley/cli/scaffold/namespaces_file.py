"""A project's namespaces file: which one it is, and adding a namespace to it."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from parley.cli.failure import CommandFailure

STOCK = frozenset({"auth", "chat", "gateway"})
"""The services that are Parley's own."""
NAMESPACES = Path("namespaces.toml")
"""The project's file, in the working directory."""


def choose(configured: Path | None) -> Path | None:
    """Return the file that the gateway reads: the configured one, or the project's if there is one, or None."""
    if configured is not None:
        return configured
    return NAMESPACES if NAMESPACES.is_file() else None


def with_namespace(text: str, name: str, where: Path) -> str:
    """Return a file's text with the namespace of a service appended and all else as it was.

    Raises `CommandFailure`, which says where, if that is not possible.
    """
    namespace = f"/{name}"
    if namespace in _namespaces(text, where):
        raise CommandFailure(f"{where} has the namespace {namespace} already; nothing was written")
    table = f'[namespaces."{namespace}"]\nservice = "{name}"\nauth = "required"\n'
    appended = f"{text.rstrip()}\n\n{table}".lstrip()
    # Read back: a file that ends within a table or a string would take the lines into that.
    if namespace not in _namespaces(appended, where):
        raise CommandFailure(f"{where} takes no further table at its end; nothing was written")
    return appended


def _namespaces(text: str, where: Path) -> dict[str, Any]:
    try:
        found: Any = tomllib.loads(text).get("namespaces", {})
    except tomllib.TOMLDecodeError as error:
        raise CommandFailure(f"{where}: {error}; nothing was written") from error
    if not isinstance(found, dict):
        raise CommandFailure(f"{where}: namespaces is not a table; nothing was written")
    return found  # pyright: ignore[reportUnknownVariableType]
