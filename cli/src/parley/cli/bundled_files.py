"""Files of the repository that commands need, from a checkout or from what the wheel carries of it."""

from __future__ import annotations

from pathlib import Path

from parley.cli.failure import CommandFailure

ROOTS = (Path(__file__).resolve().parents[4], Path(__file__).resolve().parent / "repository")
"""The checkout, and the directory in which `hatch_build.py` puts what a wheel carries."""


def find(relative: str) -> Path:
    """Return a file or directory by its path in the repository.

    Raises `CommandFailure` if this installation lacks it.
    """
    for root in ROOTS:
        # A checkout goes first: whoever works in one means its files.
        if (root / relative).exists():
            return root / relative
    raise CommandFailure(f"this installation lacks {relative}; install the wheel of parley-cli, or use a checkout")


def page() -> Path | None:
    """Return the directory of the web page, or None if it is not complete."""
    for root in ROOTS:
        directory = root / "web" / "public"
        if (directory / "index.html").is_file() and (directory / "socket.io.min.js").is_file():
            return directory
    return None
