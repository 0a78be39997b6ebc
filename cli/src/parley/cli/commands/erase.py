"""`parley erase`: have what somebody wrote, a message or a room erased, and wait until it is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from parley.cli.failure import CommandFailure
from parley.cli.options import DatabaseUrl

if TYPE_CHECKING:  # `parley run` is to start fast
    from parley.chat.domain.erasure import Erasure

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
    """All that a user wrote, with their names and ids; they leave their rooms. Ban them first: their account stays."""
    from parley.chat.log.erasure import erasures  # noqa: PLC0415

    _erase(database_url, ledger, lambda connection: erasures.request_user(connection, user_id))


@app.command()
def message(
    room: Annotated[str, typer.Argument(help="The room's id.")],
    sequence: Annotated[int, typer.Argument(min=1, help="The message's sequence.")],
    database_url: DatabaseUrl,
    ledger: LedgerFile,
) -> None:
    """One message."""
    from parley.chat.log.erasure import erasures  # noqa: PLC0415

    _erase(database_url, ledger, lambda connection: erasures.request_message(connection, room, sequence))


@app.command()
def room(
    room_id: Annotated[str, typer.Argument(metavar="ROOM", help="The room's id.")],
    database_url: DatabaseUrl,
    ledger: LedgerFile,
) -> None:
    """A room with all that anybody wrote there. It is closed, and exists for nobody any more."""
    from parley.chat.log.erasure import erasures  # noqa: PLC0415

    _erase(database_url, ledger, lambda connection: erasures.request_room(connection, room_id))


def _erase(url: str, path: Path, request: Callable[[Any], Awaitable[Erasure]]) -> None:
    from rich.progress import BarColumn, Progress, TextColumn  # noqa: PLC0415

    from parley.chat.domain.encoding.room_ids import share_before  # noqa: PLC0415
    from parley.chat.domain.erasure import Scope  # noqa: PLC0415
    from parley.chat.log.erasure.erasure_runner import wait_until_completed  # noqa: PLC0415
    from parley.chat.log.erasure.ledger import Ledger, LedgerError  # noqa: PLC0415
    from parley.cli.database.log_connection import log_connection, wait_for_database  # noqa: PLC0415
    from parley.common.errors import Reject  # noqa: PLC0415

    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[events]} events")

    async def run() -> Erasure:
        ledger = Ledger(path)
        await asyncio.to_thread(ledger.read)  # before anything is asked for
        async with log_connection(url) as connection:
            asked = await request(connection)
        typer.echo(f"Hidden from now on: {asked.id}.")
        with Progress(*columns, transient=True) as progress:
            bar = progress.add_task("Erasing", total=1.0, events=0)

            def report(erasure: Erasure) -> None:
                all_rooms = erasure.scope is Scope.USER and erasure.at_room is not None
                done = share_before(erasure.at_room or 0) if all_rooms else 0.0
                if erasure.id == asked.id:
                    progress.update(bar, completed=done, events=erasure.events)

            return await wait_until_completed(url, ledger, asked, report)

    try:
        wait_for_database(url, 10)
        done = asyncio.run(run())
    except (LedgerError, Reject) as error:
        raise CommandFailure(error.message if isinstance(error, Reject) else str(error)) from error
    typer.echo(f"Erased {done.events} events.")
