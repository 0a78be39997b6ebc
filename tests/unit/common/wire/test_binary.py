"""Binary data leaves arguments for placeholders and comes back, however deeply clients nest what they send."""

from __future__ import annotations

import sys
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parley.common.wire.binary import MAX_DEPTH, Unsendable, extract, insert, too_deep

BINARY = st.binary(max_size=4)
SCALARS = st.none() | st.booleans() | st.integers(-9, 9) | st.text('ab[]{}"\\é', max_size=6)
VALUES = st.recursive(
    SCALARS | BINARY, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("xy", max_size=2), inner)
)


class Holder(msgspec.Struct):
    data: bytes
    more: list[bytes] = []


def nested(depth: int, inner: Any = 1) -> Any:
    for _ in range(depth):
        inner = [inner]
    return inner


def brackets(depth: int) -> bytes:
    return b"[" * depth + b"1" + b"]" * depth


@settings(max_examples=60)
@given(st.lists(VALUES, max_size=4))
def test_what_is_extracted_is_inserted_again(args: list[Any]):
    encoded, attachments = extract(args)
    assert insert(encoded, attachments) == args


@settings(max_examples=60)
@given(VALUES)
def test_depth_is_counted_without_the_brackets_in_texts(value: Any):
    encoded = msgspec.json.encode(value)
    for around in (MAX_DEPTH - 50, MAX_DEPTH):
        assert too_deep(b"[" * around + encoded + b"]" * around) == (depth_of(value) + around > MAX_DEPTH)


def depth_of(value: Any) -> int:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inside is None else 1 + max(map(depth_of, inside), default=0)


def test_attachments_are_numbered_in_the_order_of_the_json():
    encoded, attachments = extract(("a", {"x": b"1", "y": [b"2", {"z": bytearray(b"3")}]}, Holder(b"4", [b"5"])))
    assert attachments == (b"1", b"2", b"3", b"4", b"5")
    assert insert(encoded, attachments) == ["a", {"x": b"1", "y": [b"2", {"z": b"3"}]}, {"data": b"4", "more": [b"5"]}]


@pytest.mark.parametrize("inner", [1, b"1"])
def test_the_deepest_that_may_be_sent_comes_back_and_one_level_more_is_refused(inner: Any):
    # For binary data there is an object, its placeholder.
    deepest = MAX_DEPTH - isinstance(inner, bytes)
    args = nested(deepest, inner)
    assert insert(*extract(args)) == args
    with pytest.raises(Unsendable, match="nested deeper than 100 levels"):
        extract(nested(deepest + 1, inner))


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 490, 980, 5_000, 100_000])
def test_what_clients_nest_too_deeply_is_a_value_error_and_never_a_recursion_error(depth: int):
    assert too_deep(brackets(depth))
    with pytest.raises(ValueError, match="nested deeper than 100 levels"):
        insert(brackets(depth), ())
    with pytest.raises(Unsendable):
        extract(nested(min(depth, sys.getrecursionlimit() * 2)))


def test_what_holds_itself_cannot_be_sent():
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(Unsendable):
        extract((circle,))


def test_looking_for_depth_takes_time_in_proportion_to_what_came():
    for data in (b'"' + b'\\"' * 200_000, b"[" * 200_000 + b"]" * 200_000, b"[[][]" * 200_000, b'"[' * 200_001):
        too_deep(data)  # the test's own timeout ends what is quadratic


@pytest.mark.parametrize("number", [1, -1, 10**20])
def test_a_placeholder_without_its_attachment_is_refused(number: int):
    with pytest.raises(ValueError, match="there is no attachment"):
        insert(b'[{"_placeholder":true,"num":%d}]' % number, (b"0",))


def test_a_placeholder_beside_binary_data_cannot_be_sent():
    with pytest.raises(Unsendable, match="_placeholder"):
        extract(({"_placeholder": 1}, b"0"))


def test_json_that_is_sent_as_it_is_may_hold_anything():
    assert extract((msgspec.Raw(b'{"a":[1]}'), {"_placeholder": 1})) == (b'[{"a":[1]},{"_placeholder":1}]', ())
