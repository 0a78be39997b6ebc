"""`parley erase`: erase what a user wrote, a message or a room, and wait until that is done."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from parley.chat.domain.encoding.room_ids import FIRST_ROOM
from parley.chat.domain.erasure import Erasure, ErasureScope
from parley.chat.log.erasure import erasures
from parley.chat.log.erasure.erasure_runner import wait_until_completed
from parley.chat.log.erasure.ledger import Ledger, LedgerError
from parley.cli.database.log_connection import log_connection
from parley.cli.failure import CommandFailure
from parley.cli.options import DatabaseUrl
from parley.cli.progress import progress_of_rooms
from parley.common.errors import Reject

app = typer.Typer(
    name="erase",
    help="""Erase what was written, for good: from the log and all that is made of it.

    From the first moment on nobody reads it any more, whatever happens next. A command that was stopped may be run
    again; it goes on where it was. Copies in backups last as long as these do.""",
    no_args_is_help=True,
)

LedgerFile = Annotated[
    Path,
    typer.Option(
        envvar="PARLEY_CHAT_ERASURE_LEDGER",
        help="The file in which erasures are written down, outside of backups: the same as the chats'.",
        show_default=False,
    ),
]


@app.command()
def user(
    user_id: Annotated[str, typer.Argument(metavar="USER", help="The user's id.")],
    database_url: DatabaseUrl,
    ledger: LedgerFile,
) -> None:
    """Everything that a user wrote, with their names and ids; they leave their rooms.

    Ban them first: their account stays.
    """
    _erase(database_url, ledger, lambda connection: erasures.request_user(connection, user_id))


@app.command()
def message(
    room: Annotated[str, typer.Argument(help="The room's id.")],
    sequence: Annotated[int, typer.Argument(min=1, help="The message's sequence.")],
    database_url: DatabaseUrl,
    ledger: LedgerFile,
) -> None:
    """One message."""
    _erase(database_url, ledger, lambda connection: erasures.request_message(connection, room, sequence))


@app.command()
def room(
    room_id: Annotated[str, typer.Argument(metavar="ROOM", help="The room's id.")],
    database_url: DatabaseUrl,
    ledger: LedgerFile,
) -> None:
    """A room with all that anybody wrote there. It is closed, and exists for nobody any more."""
    _erase(database_url, ledger, lambda connection: erasures.request_room(connection, room_id))


def _erase(url: str, path: Path, request: Callable[[Any], Awaitable[Erasure]]) -> None:
    async def run() -> Erasure:
        ledger = Ledger(path)
        # Before the request: an erasure that no ledger has is undone by the next restore.
        await asyncio.to_thread(ledger.read)
        async with log_connection(url) as connection:
            requested = await request(connection)
        # Said at once: whatever happens from here on, nobody can read it any more.
        typer.echo(f"Hidden from now on: {requested.id}.")
        with progress_of_rooms("Erasing", "events") as progress:

            def report(erasure: Erasure) -> None:
                if erasure.id == requested.id:
                    # Only an erasure of a user goes through the rooms from the first to the last.
                    place = erasure.at_room if erasure.scope is ErasureScope.USER else None
                    progress(erasure.events, FIRST_ROOM if place is None else place)

            return await wait_until_completed(url, ledger, requested, report)

    try:
        done = asyncio.run(run())
    except (LedgerError, Reject) as error:
        raise CommandFailure(error.message if isinstance(error, Reject) else str(error)) from error
    typer.echo(f"Erased {done.events} events.")
