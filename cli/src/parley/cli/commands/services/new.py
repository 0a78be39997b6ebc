"""`parley new`: begin something in the working directory."""

from __future__ import annotations

from typing import Annotated

import typer

from parley.cli.scaffold.new_service import plan_service

app = typer.Typer(name="new", help="Begin something new in the working directory.", no_args_is_help=True)


@app.command()
def service(
    name: Annotated[
        str,
        typer.Argument(help="Of the package, the service and the namespace /NAME: lower case, a Python identifier."),
    ],
) -> None:
    """Write a working service: its package, a test, and its entries in namespaces.toml and the compose file."""
    files = plan_service(name)
    files.write()
    for path in files.new:
        typer.echo(f"Wrote    {path}")
    for path in files.changed:
        typer.echo(f"Added to {path}")
    for note in files.notes:
        typer.echo(note)
    typer.echo("\nNext:")
    for command, meaning in (
        ("parley up", f"everything on http://localhost:8000; {name} restarts when its code changes"),
        (f"pytest tests/test_{name}.py", "its test; needs pytest and pytest-asyncio"),
        (
            "docker compose up --build",
            "the production layout, once a checkout of Parley has made the image: docker compose build",
        ),
    ):
        typer.echo(f"  {command:<{max(26, len(name) + 21)}} {meaning}")
