"""What an event says to a single user: whether they are a member now, or may become one."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import msgspec
import pytest

from parley.chat.delivery.hints import FOR_USERS, change_of, notice_of
from parley.chat.domain.encoding.recorded import Recorded
from parley.chat.domain.events import NamedUser
from parley.chat.domain.membership import MemberChanged, MemberInvited, MemberJoined, MemberLeft
from parley.chat.domain.messages import MessageSent
from parley.chat.domain.room import ChatEvent
from parley.common.wire.rooms import MembershipChange, RoomEvent

BEN = NamedUser("u_ben", "Ben")


def recorded(event: ChatEvent) -> Recorded:
    return Recorded(
        1, 7, 0, UUID(int=7), event.TYPE, "u_ann", "Ann", "c", 0, msgspec.json.encode(event), datetime.now(UTC)
    )


def test_a_join_and_a_leave_are_told_to_whom_they_are_about():
    event = recorded(MemberJoined(BEN))
    assert change_of(event, RoomEvent("e", b"{}", 7, joined_user="u_ben")) == (
        "u_ben", MembershipChange(event.room, True, 7),
    )  # fmt: skip
    assert change_of(event, RoomEvent("e", b"{}", 7, left_user="u_ben")) == (
        "u_ben", MembershipChange(event.room, False, 7),
    )  # fmt: skip
    assert change_of(recorded(MessageSent("hello")), RoomEvent("e", b"{}", 7)) is None


def test_who_is_invited_hears_of_it_and_nobody_else():
    invited = recorded(MemberInvited(BEN))
    told = notice_of(invited, RoomEvent("member.invited", b"{}", 7))
    assert told is not None
    user, notice = told
    assert (user, notice.event, notice.notice, notice.sequence) == ("u_ben", "member.invited", str(UUID(int=7)), 0)
    assert notice_of(recorded(MemberJoined(BEN)), RoomEvent("e", b"{}", 7)) is None


@pytest.mark.parametrize(("kind", "concerns"), [(MemberLeft, True), (MemberInvited, True), (MemberChanged, False)])
def test_only_events_that_move_or_invite_concern_a_single_user(kind: type[MemberLeft], concerns: bool):
    assert (kind.NUMBER in FOR_USERS) is concerns
    assert {1, 2, 3, 4, 30} == FOR_USERS
