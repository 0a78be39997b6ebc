"""A progress bar on the terminal for work that goes through the log room by room."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from parley.chat.domain.encoding.room_ids import share_before


@contextmanager
def progress_of_rooms(description: str, counted: str = "rooms") -> Generator[Callable[[int, int], None]]:
    """Show a bar until the block ends.

    Yields a function that is told how many things are done, such as rooms, and the key of the last room.
    """
    count, left = TextColumn("{task.fields[count]} " + counted), TimeRemainingColumn()
    columns = TextColumn("{task.description}"), BarColumn(), count, left
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(description, total=1.0, count=0)
        yield lambda done, room_id: bar.update(task, completed=share_before(room_id), count=done)
