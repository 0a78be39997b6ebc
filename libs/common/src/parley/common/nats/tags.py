"""Keeps what was sent and is not settled yet, each entry under a tag. The entries of one message have a range of tags.

`RequestClient` keeps requests in it, and a gateway the commands that it has forwarded. The range is written into the
message's reply subject, so NATS' no-responders status for a whole message finds its entries without a list of messages.
Tags begin at a random number in each run, so that an answer to an earlier run finds nothing.

| state of an entry | input | next |
|---|---|---|
| unsettled | `settle`, `settle_range` | settled: it is returned to the caller and forgotten |
| unsettled | its message's deadline | late: it waits for its turn to be reported |
| late | `settle` | settled |
| late | its turn | settled: `on_late` is called with it |
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, TypeVar

from parley.common.process.logs import get_logger

log = get_logger(__name__)

EntryT = TypeVar("EntryT")

MAX_LATE_AT_ONCE = 256
"""Late entries that are reported in one turn of the loop."""


class _Message:
    """A message with unsettled entries. Its timer is cancelled with the last of them."""

    __slots__ = ("outstanding", "tags", "timer")

    def __init__(self, tags: range) -> None:
        self.tags = tags
        self.outstanding = len(tags)
        self.timer: asyncio.TimerHandle | None = None


class TagTable(Generic[EntryT]):
    """Entries by tag. For an entry that is not settled by its message's deadline, `on_late` is called."""

    def __init__(self, on_late: Callable[[int, EntryT], None] | None = None) -> None:
        self._on_late = on_late
        self._entries: dict[int, tuple[EntryT, _Message]] = {}
        # 48 bits leave 2**64 - 2**48 tags to count up to: msgpack's integers have 64 bits.
        self._next = secrets.randbits(48)
        self._late: deque[_Message] = deque()
        self._settling = False

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[EntryT]:
        return iter([entry for entry, _ in self._entries.values()])

    def get(self, tag: int) -> EntryT | None:
        """Return the unsettled entry with this tag, or None."""
        found = self._entries.get(tag)
        return None if found is None else found[0]

    def issue(self, entries: Sequence[EntryT], timeout: float | None = None) -> range:
        """Give the entries of one message consecutive tags. `timeout` is the message's deadline in seconds."""
        tags = range(self._next, self._next + len(entries))
        self._next = tags.stop
        # One timer for the message, and not one for each entry: a storm has thousands of entries in a few messages.
        message = _Message(tags)
        self._entries.update(zip(tags, ((entry, message) for entry in entries), strict=True))
        if timeout is not None and entries:
            message.timer = asyncio.get_running_loop().call_later(timeout, self._expire, message)
        return tags

    def settle(self, tag: int) -> EntryT | None:
        """Take out the entry with this tag. Return None when it is settled already, was late, or never existed."""
        found = self._entries.pop(tag, None)
        if found is None:
            return None
        entry, message = found
        message.outstanding -= 1
        if not message.outstanding and message.timer is not None:
            message.timer.cancel()
            message.timer = None
        return entry

    def settle_range(self, first: int, last: int) -> list[EntryT]:
        """Take out the unsettled entries whose tags are in a range, both ends included."""
        tags: Iterable[int] = range(first, last + 1)
        # The range comes from a subject that anybody may publish on: a huge one must not be counted through.
        if last - first > len(self._entries):
            tags = [tag for tag in self._entries if first <= tag <= last]
        return [entry for tag in tags if (entry := self.settle(tag)) is not None]

    def close(self) -> None:
        """Cancel all deadlines: no entry is reported as late any more."""
        for _, message in self._entries.values():
            if message.timer is not None:
                message.timer.cancel()
                message.timer = None
        self._late.clear()

    def _expire(self, message: _Message) -> None:
        message.timer = None
        self._late.append(message)
        if not self._settling:
            self._settling = True
            self._tell_late()

    def _tell_late(self) -> None:
        """Report some late entries, and the rest on later turns of the loop."""
        left = MAX_LATE_AT_ONCE
        while self._late and left:
            # The rest of a message that is larger than the turn's allowance stays at the front.
            message = self._late[0]
            tags, message.tags = message.tags[:left], message.tags[left:]
            # Also for tags that were settled meanwhile, so that a turn's work is bounded by what it looks at.
            left -= len(tags)
            if not message.tags:
                self._late.popleft()
            for tag in tags:
                if (entry := self.settle(tag)) is not None:
                    self._tell(tag, entry)
        if self._late:
            asyncio.get_running_loop().call_soon(self._tell_late)
        else:
            self._settling = False

    def _tell(self, tag: int, entry: EntryT) -> None:
        if self._on_late is None:
            return
        try:
            self._on_late(tag, entry)
        except Exception:
            log.exception("not told that it is late", tag=tag)
