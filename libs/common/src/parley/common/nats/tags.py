"""What was sent and is not settled yet, each under a tag; those of one message are a range of tags.

The range stands in the message's reply subject, so what the broker says of a whole message finds its parts without
anybody keeping a list of messages. Tags begin at random in each run: an answer meant for an earlier run finds nothing.
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
"""Entries that are told in one turn of the event loop that their time is over."""


class _Message:
    """A message under way. Its timer ends with the last of its entries, so that none outlives what it waits for."""

    __slots__ = ("outstanding", "tags", "timer")

    def __init__(self, tags: range) -> None:
        self.tags = tags
        self.outstanding = len(tags)
        self.timer: asyncio.TimerHandle | None = None


class TagTable(Generic[EntryT]):
    """Entries by tag, until they are settled or, where a message has a deadline, `on_late` is called with each."""

    def __init__(self, on_late: Callable[[int, EntryT], None] | None = None) -> None:
        self._on_late = on_late
        self._entries: dict[int, tuple[EntryT, _Message]] = {}
        # 48 bits leave room to count on for ages below the 64 that msgpack's integers have.
        self._next = secrets.randbits(48)
        self._late: deque[_Message] = deque()
        self._settling = False

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[EntryT]:
        return iter([entry for entry, _ in self._entries.values()])

    def get(self, tag: int) -> EntryT | None:
        """The entry with a tag that is not settled yet."""
        found = self._entries.get(tag)
        return None if found is None else found[0]

    def issue(self, entries: Sequence[EntryT], timeout: float | None = None) -> range:
        """Give the entries of one message their tags, which follow each other."""
        tags = range(self._next, self._next + len(entries))
        self._next = tags.stop
        # One timer for a message and not one for each entry: a storm has thousands of entries in a few messages.
        message = _Message(tags)
        self._entries.update(zip(tags, ((entry, message) for entry in entries), strict=True))
        if timeout is not None and entries:
            message.timer = asyncio.get_running_loop().call_later(timeout, self._expire, message)
        return tags

    def settle(self, tag: int) -> EntryT | None:
        """Take the entry with a tag. None: it is settled already, or its time is over, or there never was one."""
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
        """Take the entries whose tags are in a range, both ends included."""
        tags: Iterable[int] = range(first, last + 1)
        if last - first > len(self._entries):  # said by somebody else
            tags = [tag for tag in self._entries if first <= tag <= last]
        return [entry for tag in tags if (entry := self.settle(tag)) is not None]

    def close(self) -> None:
        """Let no time be over any more."""
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
        """Tell some; the rest has its turn when others had theirs."""
        left = MAX_LATE_AT_ONCE
        while self._late and left:
            message = self._late[0]
            tags, message.tags = message.tags[:left], message.tags[left:]
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
