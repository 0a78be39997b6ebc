"""`parley up`: everything on one port, from embedded servers to the project's own services."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from parley.cli.failure import CommandFailure


def up(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8000,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    data: Annotated[Path, typer.Option(help="Directory that keeps all state.")] = Path(".parley"),
) -> None:
    """Start everything on one port: Postgres, NATS and all services. Ctrl-C stops it.

    In the directory of a project, its own services run as well, each of which restarts when its code changes.
    """
    try:
        # Imported here, because the container image lacks the embedded parts, and has no use for this command.
        from parley.cli.stack.stack import run  # noqa: PLC0415
    except ModuleNotFoundError as error:
        # A module of ours that is missing is a fault, not a choice of the installation.
        if (error.name or "").startswith("parley"):
            raise
        raise CommandFailure(
            f"this installation lacks the embedded parts ({error.name}); install parley-cli[embedded]"
        ) from error
    run(host, port, data)
