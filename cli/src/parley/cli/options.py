"""Options and arguments that several commands have."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from parley.cli.failure import CommandFailure
from parley.common.process.settings import FILE_SUFFIX, SecretFile, read_secret, with_password
from parley.framework import Service
from parley.framework.running.loading import ServiceNotFound, load_service


def secret_of(variable: str) -> str:
    """What an environment variable holds, or the file named by it and `_FILE`; or nothing. Raises `CommandFailure`."""
    if path := os.environ.get(variable + FILE_SUFFIX):
        try:
            return read_secret(path, variable + FILE_SUFFIX)
        except SecretFile as error:
            raise CommandFailure(str(error)) from error
    return os.environ.get(variable, "")


def _with_password(url: str) -> str:
    return with_password(url, secret_of("PARLEY_DATABASE_PASSWORD"))


DatabaseUrl = Annotated[
    str,
    typer.Option(
        envvar="PARLEY_DATABASE_URL",
        help="Postgres, as libpq writes it; its password may stand in PARLEY_DATABASE_PASSWORD or in the file that "
        "PARLEY_DATABASE_PASSWORD_FILE names.",
        show_default=False,
        callback=_with_password,
    ),
]
NamespacesFile = Annotated[
    Path | None,
    typer.Option(
        envvar="PARLEY_NAMESPACES_FILE", help="The namespaces file; else namespaces.toml here.", show_default=False
    ),
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
