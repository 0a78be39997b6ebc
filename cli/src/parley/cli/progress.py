"""A progress bar on the terminal for work that goes through the log room by room."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def progress_of_rooms(description: str) -> Generator[Callable[[int, int], None]]:
    """Show a bar until the block ends; yields what reports how many rooms are done, and the id of the last of them."""
    from parley.chat.domain.encoding.room_ids import share_before  # noqa: PLC0415

    count, left = TextColumn("{task.fields[rooms]} rooms"), TimeRemainingColumn()
    columns = TextColumn("{task.description}"), BarColumn(), count, left
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(description, total=1.0, rooms=0)
        yield lambda rooms, room_id: bar.update(task, completed=share_before(room_id), rooms=rooms)
