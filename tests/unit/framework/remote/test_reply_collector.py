"""Who is waited for after a request to gateways, and what is said of those that did not reply."""

from __future__ import annotations

import pytest

from parley.common.wire.operations import ClientAckReport, OperationReport
from parley.framework.remote.reply_collector import ReplyCollector

A, B = "a:1", "b:1"


def collector(
    gateway: str = "", most: int | None = None, alive: set[str] | None = None
) -> ReplyCollector[OperationReport]:
    """One that knows all gateways."""
    made = ReplyCollector[OperationReport](gateway, most)
    made.expect({A, B} if alive is None else alive, all_known=True)
    return made


def test_all_that_live_have_to_reply_and_who_has_not_is_named():
    replies = collector()
    replies.add(OperationReport(A, 2))
    assert not replies.ended
    result = replies.result(["c:1", A])
    assert (result.complete, result.matched, result.unanswered, result.silent) == (False, 2, (B,), ("c:1",))
    replies.add(OperationReport(B, 1))
    assert replies.ended
    result = replies.result([])
    assert (result.complete, result.matched, result.unanswered) == (True, 3, ())


def test_nothing_is_complete_before_it_is_known_who_lives():
    replies = collector(alive=set())
    replies.expect({A}, all_known=False)
    replies.add(OperationReport(A, 1))
    assert not replies.ended
    replies.expect({A}, all_known=True)
    assert replies.ended


def test_a_gateway_that_fell_silent_meanwhile_is_no_longer_waited_for():
    replies = collector()
    replies.add(OperationReport(A, 1))
    replies.expect({A}, all_known=True)
    assert replies.ended
    assert replies.result([B]).silent == (B,)


def test_once_all_that_can_match_are_found_nobody_else_is_waited_for():
    replies = collector(most=1)
    replies.add(OperationReport(A, 0))
    assert not replies.ended
    replies.add(OperationReport(B, 1))
    assert replies.ended
    assert replies.result([]).complete


def test_acks_that_were_announced_are_waited_for_though_all_have_replied():
    replies = ReplyCollector[ClientAckReport]("", None)
    replies.expect({A}, all_known=True)
    replies.add(ClientAckReport(A, 2, [], 1))
    assert not replies.ended
    replies.add(ClientAckReport(A, 0, [], 1))
    assert replies.ended


@pytest.mark.parametrize("asked", ["a", A])
def test_one_gateway_is_asked_by_its_name_or_by_its_address(asked: str):
    replies = collector(asked)
    assert not replies.ended
    replies.add(OperationReport(A, 1))
    assert replies.ended
    assert replies.result([B]).silent == ()


@pytest.mark.parametrize(("alive", "missing"), [({A}, (A,)), (set(), ())])
def test_where_nobody_listens_a_gateway_that_was_heard_a_moment_ago_owes_a_reply(
    alive: set[str], missing: tuple[str, ...]
):
    replies = collector("a", alive=alive)
    replies.no_listener = True
    assert replies.ended
    result = replies.result([])
    assert (result.complete, result.unanswered) == (not missing, missing)
