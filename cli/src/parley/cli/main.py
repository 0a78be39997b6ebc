"""The `parley` command: the list of its commands, each of which has a file in `commands`."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from parley.cli.commands import (
    asyncapi,
    consumers,
    erase,
    export_log,
    import_log,
    migrate,
    migration,
    nats_config,
    new,
    rebuild,
    restored,
    routes,
    run,
    secrets,
    up,
    verify,
)
from parley.cli.failure import ReportingGroup

app = typer.Typer(
    name="parley",
    cls=ReportingGroup,
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


app.command()(up.up)
app.command()(migrate.migrate)
app.command()(restored.restored)
app.command()(migration.migration)
app.command()(rebuild.rebuild)
app.command()(verify.verify)
app.add_typer(erase.app)
app.command("export")(export_log.export_log)
app.command("import")(import_log.import_log)
app.command()(run.run)
app.command()(secrets.secrets)
app.command()(nats_config.nats_config)
app.command()(routes.routes)
app.command()(asyncapi.asyncapi)
app.add_typer(consumers.app)
app.add_typer(new.app)
