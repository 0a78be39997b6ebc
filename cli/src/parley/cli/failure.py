"""What goes wrong in a way that users meet."""

from __future__ import annotations

from typing import NoReturn

import typer


class Failure(Exception):
    """An expected failure; its text, one line, is all the user needs to see."""


def fail(error: Exception) -> NoReturn:
    """Say what failed, and end with exit code 1."""
    typer.echo(f"parley: {error}", err=True)
    raise typer.Exit(1) from error
