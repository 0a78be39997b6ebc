"""The `parley` command: the table of its commands, each of which has a file in `commands`."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Annotated, Any

import typer

from parley.cli.failure import ReportingGroup

COMMANDS = {
    "up": "stack.up:up",
    "migrate": "database.migrate:migrate",
    "restored": "database.restored:restored",
    "migration": "database.migration:migration",
    "rebuild": "database.rebuild:rebuild",
    "verify": "database.verify:verify",
    "erase": "database.erase:app",
    "export": "database.export_log:export_log",
    "import": "database.import_log:import_log",
    "run": "services.run:run",
    "secrets": "stack.secrets:secrets",
    "nats-config": "stack.nats_config:nats_config",
    "routes": "services.routes:routes",
    "asyncapi": "services.asyncapi:asyncapi",
    "consumers": "database.consumers:app",
    "new": "services.new:app",
}
"""What is typed, and the function, or the group of functions, in `commands` that it runs; in the order of the help."""


class CommandTable(Mapping[str, Any]):
    """The commands, each imported when it is looked up.

    Otherwise `parley run` would import what only `parley migrate` needs, and start a second later.
    """

    def __getitem__(self, name: str) -> Any:
        command = pkgutil.resolve_name(f"parley.cli.commands.{COMMANDS[name]}")
        alone = typer.Typer()
        # Each by itself: a group of one command would otherwise become that command.
        if isinstance(command, typer.Typer):
            alone.add_typer(command)
        else:
            alone.command(name)(command)
        return typer.main.get_group(alone).commands[name]

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


class LazyGroup(ReportingGroup):
    """The group of all commands, which imports a command when it is used."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        # Typer (0.29) only looks names up in this, and lists them for its help and its "did you mean".
        self.commands: Any = CommandTable()


app = typer.Typer(
    name="parley",
    cls=LazyGroup,
    help="Parley: a self-hosted realtime messaging backend.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _print_version(*, wanted: bool) -> None:
    if wanted:
        typer.echo(f"parley {version('parley-cli')}")
        raise typer.Exit


@app.callback()
def parley(
    *,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Parley: a self-hosted realtime messaging backend."""
