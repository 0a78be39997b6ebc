"""The router reads a controller's annotations, decodes an event's arguments by them, and refuses what cannot be."""

from __future__ import annotations

import functools
from typing import Annotated, Any

import msgspec
import pytest

from parley.framework import Code, Context, Controller, Reject, Route, Router, on
from parley.framework.serving.event_runner import EventRunner
from tests.support.framework.invocations import invocation_of


class Say(msgspec.Struct, forbid_unknown_fields=True):
    body: Annotated[str, msgspec.Meta(min_length=1, max_length=10)]


class Blob(msgspec.Struct):
    data: bytes


async def say(_context: Context, payload: Say) -> Say:
    return payload


async def anything(_context: Context, _payload: Any) -> None: ...


async def nothing(_context: Context) -> None: ...


async def move(_context: Context, x: int, y: int) -> None: ...


async def page(_context: Context, room: str, limit: Annotated[int, msgspec.Meta(le=100)] = 50, *, _own: int = 0): ...


async def page_from(_context: Context, room: str, limit: Annotated[int, msgspec.Meta(le=100)] = 50): ...


async def every(_context: Context, *args: int) -> None: ...


async def upload(_context: Context, name: str, blob: Blob, raw: bytes = b"none") -> None: ...


def routed(controller: Controller, **options: Any) -> Route:
    """The route of `say` with this controller."""
    router: Router[None] = Router("/chat")
    router.route("say", controller, **options)
    return router.routes["say"]


def rejected(route: Route, args: bytes, *attachments: bytes) -> Reject:
    """The rejection of these arguments."""
    with pytest.raises(Reject) as caught:
        route.arguments(args, attachments)
    assert caught.value.code is Code.INVALID_PAYLOAD
    return caught.value


# -- arguments ---------------------------------------------------------------------------------------------------------


def test_the_single_argument_is_decoded_into_its_type():
    assert list(routed(say).arguments(b'[{"body":"hello"}]')) == [Say("hello")]


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
    assert rejected(routed(say), args).message.startswith("say: ")


@pytest.mark.parametrize("payload", [Say, dict, Any])
def test_too_deep_nesting_is_rejected_rather_than_a_crash(payload: Any):
    rejected(routed(anything, payload=payload), b"[" * 100_000 + b"]" * 100_000)


@pytest.mark.parametrize(
    ("controller", "args", "decoded"),
    [
        pytest.param(nothing, b"[]", [], id="none"),
        pytest.param(move, b"[1,2]", [1, 2], id="several"),
        pytest.param(page_from, b'["r"]', ["r", 50], id="default"),
        pytest.param(page_from, b'["r",7]', ["r", 7], id="instead of the default"),
        pytest.param(every, b"[]", [], id="any number, none"),
        pytest.param(every, b"[1,2,3]", [1, 2, 3], id="any number"),
    ],
)
def test_arguments_are_those_of_the_function(controller: Controller, args: bytes, decoded: list[Any]):
    assert list(routed(controller).arguments(args)) == decoded


@pytest.mark.parametrize(
    ("controller", "args"),
    [
        pytest.param(nothing, b"[1]", id="one too many for none"),
        pytest.param(move, b"[1]", id="one missing"),
        pytest.param(move, b"[1,2,3]", id="one too many"),
        pytest.param(move, b'[1,"2"]', id="the second of another type"),
        pytest.param(page_from, b"[]", id="the required one missing"),
        pytest.param(page_from, b'["r",1,2]', id="more than there are"),
        pytest.param(page_from, b'["r",101]', id="out of range"),
        pytest.param(every, b'[1,"x"]', id="any number, of another type"),
    ],
)
def test_arguments_that_the_function_does_not_take_are_rejected(controller: Controller, args: bytes):
    rejected(routed(controller), args)


def test_what_a_route_says_of_its_arguments_is_what_documents_are_made_from():
    signature = routed(page_from).signature
    assert signature.types == (str, Annotated[int, msgspec.Meta(le=100)])
    assert signature.required == 1
    assert routed(say).signature.returns is Say
    assert routed(every).signature.required == 0


def test_a_payload_stands_in_for_the_annotation():
    route = routed(anything, payload=Say)
    assert list(route.arguments(b'[{"body":"x"}]')) == [Say("x")]
    assert route.signature.types == (Say,)
    rejected(route, b"[1]")


def test_binary_data_stands_in_its_place_only_where_the_route_takes_it():
    args, blob = b'["n",{"data":{"_placeholder":true,"num":0}}]', b"\x00\xff"
    assert list(routed(upload, binary=True).arguments(args, (blob,))) == ["n", Blob(blob), b"none"]
    assert "no binary data" in rejected(routed(upload), args, blob).message
    rejected(routed(upload, binary=True), args.replace(b"0", b"1"), blob)
    rejected(routed(upload, binary=True), b'["n",{"data":"text"}]')


# -- what can be routed ------------------------------------------------------------------------------------------------


async def unannotated(_context: Context, room: Any) -> None: ...


del unannotated.__annotations__["room"]


async def no_context() -> None: ...


async def keyword_only(_context: Context, *, room: str) -> None: ...


@pytest.mark.parametrize(
    ("controller", "why"),
    [
        pytest.param(Blob(b""), "Blob.* is not a function", id="no function"),
        pytest.param(unannotated, "unannotated: room has no annotation", id="no annotation"),
        pytest.param(no_context, "no_context takes no context", id="no context"),
        pytest.param(keyword_only, "keyword_only: an event's arguments are positional, room is not", id="keyword"),
        pytest.param(page, "page: an event's arguments are positional, _own is not", id="keyword with a default"),
    ],
)
def test_what_cannot_be_a_controller_is_refused_by_name(controller: Any, why: str):
    with pytest.raises(ValueError, match=why):
        routed(controller)


@pytest.mark.parametrize("event", ["", None, 1])
def test_an_event_has_a_name(event: Any):
    with pytest.raises(ValueError, match="an event's name is a text"):
        Router[None]("/chat").route(event, say)


def test_routing_an_event_twice_is_refused_and_the_first_place_named():
    router: Router[None] = Router("/chat")
    router.on("say")(say)
    with pytest.raises(ValueError, match=rf"/chat say is routed twice: {__name__}:say"):
        router.route("say", anything)
    assert router.routes["say"].controller is say


def test_describing_a_sent_event_twice_is_refused():
    router: Router[None] = Router("/chat")
    router.sends("said", Say)
    with pytest.raises(ValueError, match="/chat said is described twice"):
        router.sends("said")
    assert router.sent == {"said": Say}


def test_a_route_has_the_options_it_was_given_and_no_others():
    router: Router[None] = Router("/chat")
    router.route("one", say)
    router.on("two", pipelined=True, binary=True, timeout=1.5)(say)
    one, two = router.routes["one"], router.routes["two"]
    assert (one.pipelined, one.binary, one.timeout) == (False, False, None)
    assert (two.pipelined, two.binary, two.timeout) == (True, True, 1.5)


def test_the_decorator_leaves_the_function_as_it_is_and_a_wrapped_one_is_known_by_its_own_name():
    @functools.wraps(say)
    async def wrapped(*args: Any) -> Any:
        return await say(*args)

    router: Router[None] = Router("/chat")
    assert router.on("say")(say) is say
    router.route("wrapped", wrapped)
    assert router.routes["wrapped"].place == router.routes["say"].place == f"{__name__}:say"
    assert router.routes["wrapped"].signature.types == (Say,)


# -- classes -----------------------------------------------------------------------------------------------------------


class Counting:
    """A controller class; each event has an object of its own."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.count = 0

    @on("count", timeout=2.0)
    async def add(self, number: int, more: int = 1) -> dict[str, Any]:
        self.count += number + more
        return {"count": self.count, "user": self.context.identity.user_id}

    async def unmarked(self) -> None:
        raise NotImplementedError


class CountingMore(Counting):
    @on("reset")
    async def reset(self) -> None:
        self.count = 0


class Overriding(Counting):
    async def add(self, number: int, more: int = 2) -> dict[str, Any]:
        return await super().add(number, more)


async def control(router: Router[None], event: str, args: bytes) -> Any:
    """The result of an event's controller."""
    invocation = invocation_of(event, args)
    await EventRunner(router).handle(invocation)
    return invocation.result


async def test_the_marked_methods_of_a_class_are_controllers_on_a_fresh_object_each():
    router: Router[None] = Router("/count")
    router.controllers(CountingMore)
    assert list(router.routes) == ["count", "reset"], "inherited ones first"
    assert router.routes["count"].timeout == 2.0
    assert router.routes["count"].place == f"{__name__}:Counting.add"
    assert router.routes["count"].signature.types == (int, int)
    for _ in range(2):
        assert await control(router, "count", b"[4]") == {"count": 5, "user": "u_ann"}


def test_a_class_whose_event_is_routed_already_is_refused():
    router: Router[None] = Router("/count")
    router.controllers(Counting)
    with pytest.raises(ValueError, match="count is routed twice"):
        router.controllers(Counting)


def test_a_method_that_is_overridden_without_a_mark_is_no_controller():
    router: Router[None] = Router("/count")
    router.controllers(Overriding)
    assert router.routes == {}
