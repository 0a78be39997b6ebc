"""How a command fails in a way that its user is to understand: one line, and exit code 1."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup
from typing_extensions import override


class CommandFailure(Exception):
    """A command failed in an expected way. Its text is all that the user needs to see."""


class ReportingGroup(TyperGroup):
    """The commands of `parley`: none of them catches `CommandFailure`, which is reported here."""

    @override
    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except CommandFailure as failure:
            typer.echo(f"parley: {failure}", err=True)
            raise typer.Exit(1) from failure
