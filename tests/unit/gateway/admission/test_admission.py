"""The cursors of a CONNECT payload: one that makes no sense voids itself and no other."""

from __future__ import annotations

from typing import Any

import pytest

from parley.gateway.admission.admission import MAX_CURSORS, read_cursors


@pytest.mark.parametrize(
    ("said", "read"),
    [(0, 0), (12, 12), (12.0, 12), (1e3, 1000), (-1, None), (1.5, None), (None, None), ("1", None), (True, None),
     ([], None), (float("inf"), None), (2**70, None), (1e300, None)],
)  # fmt: skip
def test_a_whole_number_is_a_cursor_however_it_is_written(said: Any, read: int | None) -> None:
    assert read_cursors({"cursors": {"before": 1, "room": said, "after": 2}}) == {"before": 1, "room": read, "after": 2}


@pytest.mark.parametrize("said", [None, [], "x", 1])
def test_without_an_object_there_are_none(said: Any) -> None:
    assert read_cursors({"cursors": said}) == {}
    assert read_cursors({}) == {}


def test_those_beyond_the_limit_are_as_good_as_malformed() -> None:
    cursors = read_cursors({"cursors": {f"r{n}": n for n in range(MAX_CURSORS + 2)}})
    assert [room for room, cursor in cursors.items() if cursor is None] == [f"r{MAX_CURSORS}", f"r{MAX_CURSORS + 1}"]
