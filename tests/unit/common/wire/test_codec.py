"""Every wire type survives the wire, older and newer processes understand each other, and acks have one shape."""

from __future__ import annotations

import json
import pkgutil
from datetime import UTC, datetime
from importlib import import_module
from types import NoneType, UnionType
from typing import Any, Literal, cast, get_args, get_origin

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parley.common import wire
from parley.common.errors import Code, Reject
from parley.common.wire.codec import Wire, decode
from parley.common.wire.commands import error_payload, ok_payload
from parley.common.wire.identity import Identity
from parley.common.wire.requests import Answer, Answers, Rejection
from parley.common.wire.rooms import RoomEvent

for _module in pkgutil.iter_modules(wire.__path__, f"{wire.__name__}."):
    import_module(_module.name)
WIRE_TYPES = sorted(
    (kind for kind in Wire.__subclasses__() if kind not in {Answer, Answers}), key=lambda kind: kind.__name__
)
_SCALARS: dict[Any, st.SearchStrategy[Any]] = {
    str: st.text(max_size=20),
    bytes: st.binary(max_size=20),
    int: st.integers(-(2**63), 2**64 - 1),
    float: st.floats(allow_nan=False),
    bool: st.booleans(),
    datetime: st.datetimes(timezones=st.just(UTC)),
    NoneType: st.none(),
    msgspec.Raw: st.integers(0, 9).map(lambda value: msgspec.Raw(msgspec.msgpack.encode(value))),
}


def values_of(kind: Any) -> st.SearchStrategy[Any]:
    """Any value of a field's type."""
    if kind in _SCALARS:
        return _SCALARS[kind]
    if get_origin(kind) is list:
        return st.lists(values_of(get_args(kind)[0]), max_size=3)
    if get_origin(kind) is tuple and get_args(kind)[-1] is not ...:
        return st.tuples(*map(values_of, get_args(kind)))
    if get_origin(kind) is tuple:
        return st.lists(values_of(get_args(kind)[0]), max_size=3).map(tuple)
    if get_origin(kind) is dict:
        keys, values = get_args(kind)
        return st.dictionaries(values_of(keys), values_of(values), max_size=3)
    if get_origin(kind) is UnionType:
        return st.one_of(*map(values_of, get_args(kind)))
    if get_origin(kind) is Literal:
        return st.sampled_from(get_args(kind))
    if kind is Any:
        return st.one_of(st.none(), st.booleans(), st.text(max_size=5), st.lists(st.integers(0, 9), max_size=2))
    return messages(kind)


def messages(kind: type[Wire]) -> st.SearchStrategy[Wire]:
    """Any message of a wire type."""
    return st.builds(kind, **{field.name: values_of(field.type) for field in msgspec.structs.fields(kind)})


def test_all_wire_types_are_covered():
    assert {"Identity", "CommandBatch", "AckBatch", "Delivery", "Replayed", "RoomInfo"} <= {
        k.__name__ for k in WIRE_TYPES
    }


@pytest.mark.parametrize("kind", WIRE_TYPES, ids=lambda kind: kind.__name__)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_a_message_comes_off_the_wire_as_it_went_on(kind: type[Wire], data: st.DataObject):
    message = data.draw(messages(kind))
    assert decode(message.encode(), kind) == message


@pytest.mark.parametrize("kind", WIRE_TYPES, ids=lambda kind: kind.__name__)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_a_message_of_a_newer_process_with_one_more_field_is_understood(kind: type[Wire], data: st.DataObject):
    message = data.draw(messages(kind))
    fields: list[Any] = [getattr(message, name) for name in kind.__struct_fields__]
    tag = kind.__struct_config__.tag
    newer = msgspec.msgpack.encode([*([] if tag is None else [tag]), *fields, "a field of tomorrow"])
    assert decode(newer, kind) == message


def test_a_message_of_an_older_process_without_the_fields_that_have_defaults_is_understood():
    assert decode(msgspec.msgpack.encode(["u_ann", "Ann"]), Identity) == Identity("u_ann", "Ann", (), 0.0)
    assert decode(msgspec.msgpack.encode(["typing", b"{}"]), RoomEvent) == RoomEvent("typing", b"{}", 0, "")


@pytest.mark.parametrize(
    "data", [b"", b"\xc1", b"\xff", b"\x93\x01", msgspec.msgpack.encode({"user_id": "u", "name": "n"})]
)
def test_what_is_not_a_message_is_refused(data: bytes):
    with pytest.raises((msgspec.ValidationError, msgspec.DecodeError)):
        decode(data, Identity)


def test_an_answer_carries_a_failure_or_an_encoded_value():
    failure = Rejection("banned", "no", retryable=False)
    assert decode(Answer(failure).encode(), Answer).failure == failure
    identity = Identity("u_ann", "Ann", ("admin",), 12.5)
    answer = decode(Answer(None, msgspec.Raw(identity.encode())).encode(), Answer)
    assert answer.failure is None
    assert msgspec.msgpack.decode(answer.value, type=Identity) == identity
    assert msgspec.msgpack.decode(decode(Answer(None).encode(), Answer).value) is None
    several = decode(
        Answers([(1, Answer(failure)), (2, Answer(None, msgspec.Raw(identity.encode())))]).encode(), Answers
    )
    assert [tag for tag, _ in several.answers] == [1, 2]
    assert several.answers[0][1].failure == failure
    assert msgspec.msgpack.decode(several.answers[1][1].value, type=Identity) == identity


def test_only_the_admin_role_makes_an_admin():
    assert Identity("u", "n", ("admin",)).is_admin
    assert not Identity("admin", "admin", ("administrator",)).is_admin


class _Sent(msgspec.Struct):
    sequence: int


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (None, {"ok": True}),
        ({}, {"ok": True}),
        ({"room": {"id": "r"}}, {"ok": True, "room": {"id": "r"}}),
        (_Sent(7), {"ok": True, "sequence": 7}),
    ],
)
def test_an_accepted_commands_ack_is_ok_and_the_results_fields(result: Any, expected: dict[str, Any]):
    payload = ok_payload(result)
    assert json.loads(payload) == expected
    assert payload.startswith(b'{"ok":true')


@pytest.mark.parametrize("result", [[], [1], "text", 1, True, ("a",)])
def test_a_controller_that_returns_no_object_is_a_mistake(result: Any):
    with pytest.raises(TypeError, match="an object or None"):
        ok_payload(result)


def test_a_rejected_commands_ack_is_not_ok_and_carries_the_error():
    payload = error_payload(Reject(Code.NOT_FOUND, "no such room").as_dict())
    expected = {"ok": False, "error": {"code": "not_found", "message": "no such room", "retryable": False}}
    assert cast("dict[str, Any]", json.loads(payload)) == expected
