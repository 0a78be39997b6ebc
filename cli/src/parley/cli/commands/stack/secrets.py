"""`parley secrets`: make what an installation needs to keep secret, once, a directory for each process."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from parley.cli.options import NamespacesFile
from parley.cli.scaffold.namespaces_file import choose
from parley.cli.stack.secret_files import make_secrets


def secrets(
    directory: Annotated[Path, typer.Argument(help="Where the directories are, each of which one process mounts.")],
    namespaces: NamespacesFile = None,
    owner: Annotated[int | None, typer.Option(help="User id that the files are to belong to.")] = None,
) -> None:
    """Make the passwords of an installation, and the configuration of its NATS server. What is there is kept.

    POSTGRES_PASSWORD and PARLEY_AUTH_ADMIN_PASSWORD are taken from the environment where they are set.
    """
    made = make_secrets(directory, choose(namespaces), owner)
    typer.echo(f"Made {', '.join(made)}." if made else "Every secret was there.")
