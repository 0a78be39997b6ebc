"""Slow mode: who waits, for how long, and what they are told."""

from __future__ import annotations

from datetime import timedelta

from parley.chat.domain.messages import MessageSent, SendMessage
from parley.chat.domain.rooms import RoomUpdated, UpdateRoom
from parley.common.errors import Code
from tests.support.chat.deciding import ANN, BEN, CAT, NOW, ROOM, decided, given, refused, with_members

SEND = SendMessage("m", ROOM, "hi")
SLOW = given(*with_members(BEN, moderators=(CAT,)), (RoomUpdated(slow_seconds=30), CAT))


def test_a_member_waits_since_their_last_message_and_is_told_until_when():
    posted = NOW - timedelta(seconds=12.5)
    refusal = refused(SEND, SLOW, BEN, posted=posted)
    assert (refusal.code, refusal.retryable) == (Code.RATE_LIMITED, True)
    assert refusal.data == {"retry_after": 18, "next_post_at": (posted + timedelta(seconds=30)).isoformat()}
    assert decided(SEND, SLOW, BEN, posted=NOW - timedelta(seconds=30)) == [MessageSent("hi")]
    assert decided(SEND, SLOW, BEN) == [MessageSent("hi")], "who has not written lately"


def test_who_may_moderate_does_not_wait():
    for who in (ANN, CAT):
        assert decided(SEND, SLOW, who, posted=NOW) == [MessageSent("hi")]
        assert decided(SEND, SLOW, who, locked=False) == [MessageSent("hi")]


def test_what_is_known_without_a_lock_never_says_that_somebody_has_waited():
    assert refused(SEND, SLOW, BEN, locked=False)


def test_moderators_set_it_and_take_it_away():
    room = given(*with_members(BEN, moderators=(CAT,)))
    assert decided(UpdateRoom("u", ROOM, slow_seconds=30), room, CAT) == [RoomUpdated(slow_seconds=30)]
    assert refused(UpdateRoom("u", ROOM, slow_seconds=30), room, BEN).code is Code.FORBIDDEN
    assert decided(UpdateRoom("u", ROOM, slow_seconds=30), SLOW, CAT) == []
    quick = given(*with_members(BEN), (RoomUpdated(slow_seconds=30), ANN), (RoomUpdated(slow_seconds=0), ANN))
    assert decided(SEND, quick, BEN, posted=NOW) == [MessageSent("hi")]
