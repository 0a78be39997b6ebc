"""What a process remembers of who has sent messages, until it is stored."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID

import pytest

from parley.chat.domain.encoding.recorded import Recorded
from parley.chat.domain.messages import MessageSent
from parley.chat.reading import read_cursors
from parley.chat.reading.read_cursors import ReadCursors


def sent_by(number: int) -> Recorded:
    return Recorded(
        1, number, number, UUID(int=number), MessageSent.TYPE, f"u_{number}", "", "", 0, b"{}", datetime.now(UTC)
    )


def test_what_was_sent_is_bounded_while_nothing_can_be_stored(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(read_cursors, "MOST", 10)
    nothing = cast("Any", None)
    cursors = ReadCursors(nothing, nothing)
    for number in range(100):
        cursors.sent([sent_by(number)])
    assert len(cursors._sent) + len(cursors._of_senders) <= 20
