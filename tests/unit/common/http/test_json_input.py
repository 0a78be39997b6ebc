"""JSON from outside: whole numbers however they are written, nothing that is no JSON, one answer for each."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.common.errors import Code, Reject
from parley.common.http.bodies import described
from parley.common.http.json_input import convert, decode, fields_as, read_object, whole_numbers

Positive = Annotated[int, msgspec.Meta(ge=1)]


class Inner(msgspec.Struct, frozen=True):
    """What is inside."""

    many: list[Positive] = []


class Body(msgspec.Struct, frozen=True):
    """What is asked."""

    id: str
    count: Positive
    share: float = 0.5
    inner: Inner = Inner()


@pytest.mark.parametrize("written", ["1", "1.0", "1e0", "10E-1", "1.000"])
def test_a_whole_number_is_an_integer_however_it_is_written(written: str):
    text = f'{{"id": "a", "count": {written}, "inner": {{"many": [{written}]}}}}'.encode()
    expected = Body("a", 1, inner=Inner([1]))
    assert decode(msgspec.json.Decoder(Body), text) == expected
    assert fields_as(read_object(text), Body) == expected
    assert convert(read_object(text), Body) == expected


@pytest.mark.parametrize("written", ["true", '"1"', "1.5", "null", "0.0", "-1.0", "1e400", "1e300", "[1]"])
def test_what_is_no_whole_number_is_none(written: str):
    text = f'{{"id": "a", "count": {written}}}'.encode()
    with pytest.raises(msgspec.ValidationError):
        decode(msgspec.json.Decoder(Body), text)
    with pytest.raises(Reject) as caught:
        fields_as(read_object(text), Body)
    assert caught.value.code is Code.INVALID_PAYLOAD


def test_fractions_stay_what_they_are():
    assert decode(msgspec.json.Decoder(Body), b'{"id": "a", "count": 2.0, "share": 0.25}') == Body("a", 2, 0.25)


@given(
    st.recursive(
        st.floats() | st.integers() | st.text(), lambda part: st.lists(part) | st.dictionaries(st.text(), part)
    )
)
def test_no_value_changes_only_how_it_is_held(value: Any):
    assert repr(whole_numbers(value)) == repr(value) or whole_numbers(value) == value


@pytest.mark.parametrize(
    "body",
    [b'{"x": NaN}', b'{"x": Infinity}', b'{"x": -Infinity}', b'{"x": "\\ud83d"}', b'{"x": "\xed\xa0\xbd"}',
     '{"x": 1}'.encode("utf-16"), '{"x": 1}'.encode("utf-16-le"), b'\xef\xbb\xbf{"x": 1}', b"{'x': 1}",
     b'{"x": 1,}', b"[]", b"null", b'"x"', b"{}x",
     b'{"x": 1, "x": 2}', b'{"x": {"y": [{"z": 1, "\\u007a": 1}]}}',
     b'{"x":' + b"[" * 200 + b"]" * 200 + b"}", b"{", b'{"x": 01}', b'{"x": +1}', b'{"x": .5}'],
    ids=repr,
)  # fmt: skip
def test_what_is_no_json_object_is_refused_whether_or_not_anybody_reads_the_field(body: bytes):
    with pytest.raises(Reject) as caught:
        read_object(body)
    assert (caught.value.code, caught.value.status) == (Code.INVALID_PAYLOAD, 422)


@pytest.mark.parametrize("body", [b"", b" \n", b"{}"])
def test_nothing_is_an_object_without_fields(body: bytes):
    assert read_object(body) == {}


def test_a_body_is_described_without_what_comes_from_elsewhere():
    content = described(Body, without=frozenset({"share"}), optional="id")["requestBody"]
    schema = content["content"]["application/json"]["schema"]
    assert content["required"]
    assert schema["required"] == ["count"]
    assert set(schema["properties"]) == {"id", "count", "inner"}
    assert schema["properties"]["count"] == {"type": "integer", "minimum": 1}
    assert schema["properties"]["inner"]["title"] == "Inner"
    assert "$ref" not in str(schema)
