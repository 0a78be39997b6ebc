"""Options and arguments that several commands have."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from parley.cli.failure import CommandFailure
from parley.framework import Service
from parley.framework.running.loading import ServiceNotFound, load_service

DatabaseUrl = Annotated[
    str, typer.Option(envvar="PARLEY_DATABASE_URL", help="Postgres, as libpq writes it.", show_default=False)
]
ProjectionName = Annotated[str, typer.Argument(help="rooms, members or declined; without it, all.", show_default=False)]
SERVICE_HELP = (
    "The service: MODULE or MODULE:ATTRIBUTE, by default its attribute `service`, in the module or in its submodule "
    "`service`. The working directory is searched first."
)
ServiceName = Annotated[str, typer.Argument(metavar="NAME", help=SERVICE_HELP, show_default=False)]


def load(name: str) -> Service[Any]:
    """Load the service that a `ServiceName` names. Raises `CommandFailure` if there is none."""
    try:
        return load_service(name)
    except ServiceNotFound as error:
        raise CommandFailure(str(error)) from error
