"""How a command fails if its user is to understand it: with one line, and exit code 1."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup
from typing_extensions import override


class CommandFailure(Exception):
    """A command failed in an expected way. The text is all that its user needs to see."""


class ReportingGroup(TyperGroup):
    """The commands of `parley`. None of them catches `CommandFailure`; it is reported here."""

    @override
    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except CommandFailure as failure:
            typer.echo(f"parley: {failure}", err=True)
            raise typer.Exit(1) from failure
