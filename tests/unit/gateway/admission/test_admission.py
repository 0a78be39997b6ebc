"""The cursors of a CONNECT payload: one that makes no sense voids itself and no other."""

from __future__ import annotations

import json

import pytest

from parley.gateway.admission.admission import MAX_CURSORS, read_cursors
from parley.gateway.socketio.packets import read_connect


@pytest.mark.parametrize(
    ("said", "read"),
    [("0", 0), ("12", 12), ("12.0", 12), ("1e3", 1000), ("-1", None), ("1.5", None), ("null", None), ('"1"', None),
     ("true", None), ("[]", None), ("[1e400]", None), (str(2**70), None), ("1e300", None), ("1e400", None),
     ("-1e400", None), ("9" * 500, None)],
)  # fmt: skip
def test_a_whole_number_is_a_cursor_however_it_is_written(said: str, read: int | None) -> None:
    auth = read_connect(f'{{"cursors":{{"before":1,"room":{said},"after":2}},"token":"t"}}', 0)
    assert auth["token"] == "t"
    assert read_cursors(auth) == {"before": 1, "room": read, "after": 2}


@pytest.mark.parametrize("said", ["null", "[]", '"x"', "1", "1e400"])
def test_without_an_object_there_are_none(said: str) -> None:
    assert read_cursors(read_connect(f'{{"cursors":{said}}}', 0)) == {}
    assert read_cursors({}) == {}


def test_those_beyond_the_limit_are_as_good_as_malformed() -> None:
    cursors = read_cursors(read_connect(json.dumps({"cursors": {f"r{n}": n for n in range(MAX_CURSORS + 2)}}), 0))
    assert [room for room, cursor in cursors.items() if cursor is None] == [f"r{MAX_CURSORS}", f"r{MAX_CURSORS + 1}"]
