"""The router decodes an event's single argument and finds its controller, or rejects with a code."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import pytest

from parley.common.errors import Code, Reject
from parley.common.router import Context, Route, Router


class Say(msgspec.Struct, forbid_unknown_fields=True):
    body: Annotated[str, msgspec.Meta(min_length=1, max_length=10)]


async def controller(_context: Context, payload: Any) -> Any:
    return payload


def routed(payload: type[Any] = Say) -> Route[Any]:
    """The route of `say` with this payload."""
    router = Router("/chat")
    router.on("say", payload, controller)
    return router.match("say")


def test_the_single_argument_is_decoded_into_its_type():
    assert routed().payload(b'[{"body":"hello"}]') == Say("hello")


@pytest.mark.parametrize(
    "args",
    [
        pytest.param(b'[{"body":1}]', id="wrong type"),
        pytest.param(b'[{"body":""}]', id="too short"),
        pytest.param(b'[{"body":"12345678901"}]', id="too long"),
        pytest.param(b"[{}]", id="missing field"),
        pytest.param(b'[{"body":"x","admin":true}]', id="unknown field"),
        pytest.param(b"[]", id="no argument"),
        pytest.param(b'[{"body":"x"},1]', id="two arguments"),
        pytest.param(b"[null]", id="null"),
        pytest.param(b'["x"]', id="no object"),
        pytest.param(b'{"body":"x"}', id="no array"),
        pytest.param(b"", id="empty"),
        pytest.param(b'[{"body":', id="cut off"),
        pytest.param(b'[{"body":"\xff\xfe"}]', id="invalid utf-8"),
        pytest.param(b'[{"body":"\\ud800"}]', id="lone surrogate"),
    ],
)
def test_an_argument_of_another_shape_is_rejected_and_the_event_named(args: bytes):
    with pytest.raises(Reject) as caught:
        routed().payload(args)
    assert caught.value.code is Code.INVALID_PAYLOAD
    assert caught.value.message.startswith("say: ")


@pytest.mark.parametrize("payload", [Say, dict, Any])
def test_too_deep_nesting_is_rejected_rather_than_a_crash(payload: type[Any]):
    with pytest.raises(Reject) as caught:
        routed(payload).payload(b"[" * 100_000 + b"]" * 100_000)
    assert caught.value.code is Code.INVALID_PAYLOAD


@pytest.mark.parametrize("event", ["", "Say", "say ", "message.send", "x" * 100_000, "__init__"])
def test_an_unknown_event_is_rejected_with_a_short_text(event: str):
    router = Router("/chat")
    router.on("say", Say, controller)
    with pytest.raises(Reject) as caught:
        router.match(event)
    assert caught.value.code is Code.UNKNOWN_EVENT
    assert len(caught.value.message) < 200


def test_routing_an_event_twice_is_refused():
    router = Router("/chat")
    router.on("say", Say, controller)
    with pytest.raises(ValueError, match="say is routed twice"):
        router.on("say", Say, controller)


def test_a_route_is_not_pipelined_unless_it_says_so():
    router = Router("/chat")
    router.on("one", Say, controller)
    router.on("two", Say, controller, pipelined=True)
    assert (router.match("one").pipelined, router.match("two").pipelined) == (False, True)
