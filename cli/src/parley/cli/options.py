"""Options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

DatabaseUrl = Annotated[
    str, typer.Option(envvar="PARLEY_DATABASE_URL", help="Postgres, as libpq writes it.", show_default=False)
]
