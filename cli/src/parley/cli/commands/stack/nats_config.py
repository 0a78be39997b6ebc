"""`parley nats-config`: the users and permissions that a NATS server is to have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from parley.cli.options import NamespacesFile
from parley.cli.scaffold.namespaces_file import choose
from parley.cli.stack.nats_users import HEADER, render, users_of


def nats_config(
    namespaces: NamespacesFile = None,
    output: Annotated[Path | None, typer.Option(help="File to write; without it, standard output.")] = None,
) -> None:
    """Print the part of a NATS server's configuration that says which process may publish and listen where.

    Passwords are variables of the server's environment, such as PARLEY_NATS_GATEWAY_PASSWORD.
    """
    # Without passwords: the file may be kept with the rest of a deployment, where everybody can read it.
    text = HEADER + render(users_of(choose(namespaces)))
    if output is None:
        typer.echo(text, nl=False)
    else:
        output.write_text(text, "utf-8")
