"""Links into rooms: codes that nobody guesses, that end, and that let in no more than they should."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given as given_any
from hypothesis import strategies as st

from parley.chat.domain.encoding.invite_codes import code_of, invite_of, room_of_code
from parley.chat.domain.encoding.room_ids import LogSecret
from parley.chat.domain.events import NamedUser
from parley.chat.domain.membership import JoinRoom, MemberJoined
from parley.chat.domain.people.authority import PermissionsChanged
from parley.chat.domain.people.invites import CreateInvite, InviteCreated, InviteRevoked, InviteUsed, RevokeInvite
from parley.chat.domain.people.moderation import MemberBanned
from parley.chat.domain.permissions import Permission
from parley.chat.domain.room import room_of
from parley.chat.domain.rooms import RoomArchived
from parley.chat.domain.state import Room, UserLimits
from parley.common.errors import Code, Reject
from tests.support.chat.deciding import ANN, BEN, CAT, DAN, NOW, ROOM, Happened, decided, given, refused, with_members

SECRET = LogSecret(b"x" * 32)


def room(*more: Happened) -> Room:
    """A private room of Ann's, in which Ben is and which Cat moderates."""
    return given(*with_members(BEN, moderators=(CAT,), private=True), *more)


FIRST = 5
"""The sequence of the first event after these."""


def join(invite: int = FIRST) -> JoinRoom:
    return JoinRoom("j", invite=code_of(SECRET, 1, invite))


@given_any(st.integers(-(2**63), 2**63 - 1), st.integers(1, 2**53))
def test_a_code_says_its_room_and_its_link(room_id: int, invite: int):
    code = code_of(SECRET, room_id, invite)
    assert (room_of_code(SECRET, code), invite_of(code), len(code)) == (room_id, invite, 38)


@given_any(st.integers(0, 37), st.sampled_from("abcXYZ019-_"))
def test_a_code_that_differs_anywhere_was_never_given(place: int, other: str):
    code = code_of(SECRET, 1, 7)
    changed = code[:place] + other + code[place + 1 :]
    if changed == code:
        return
    with pytest.raises(Reject) as caught:
        room_of_code(SECRET, changed)
    assert caught.value.code is Code.NOT_FOUND


@pytest.mark.parametrize("code", ["x", "=" * 38, "A" * 38, "A" * 64, "~" * 38, code_of(LogSecret(b"y" * 32), 1, 7)])
def test_what_is_no_code_of_this_log_leads_nowhere(code: str):
    with pytest.raises(Reject) as caught:
        room_of(JoinRoom("j", invite=code), "u_dan", SECRET)
    assert caught.value.code is Code.NOT_FOUND


def test_a_code_goes_with_its_own_room_only():
    assert room_of(JoinRoom("j", ROOM, code_of(SECRET, 1, 7)), "u_dan", SECRET) == 1
    with pytest.raises(Reject):
        room_of(JoinRoom("j", ROOM, code_of(SECRET, 2, 7)), "u_dan", SECRET)
    with pytest.raises(Reject):
        JoinRoom("j").validate(1000)


def test_a_link_lets_into_a_private_room_as_often_as_it_says():
    made = decided(CreateInvite("i", ROOM, seconds=60, uses=2), room(), BEN)
    assert made == [InviteCreated(NOW + timedelta(seconds=60), 2)]
    there = room((made[0], BEN))
    events = decided(join(), there, DAN)
    assert events == [MemberJoined(NamedUser("u_dan", "Dan")), InviteUsed(FIRST)]
    used = room((made[0], BEN), *((event, DAN) for event in events))
    assert decided(join(), used, DAN) == [], "who is in the room uses up nothing"
    assert used.invites[FIRST].uses_left == 1
    spent = room((made[0], BEN), *((event, DAN) for event in events), (InviteUsed(FIRST), DAN))
    assert spent.invites == {}
    assert refused(join(), spent, BEN.__class__("u_eve", "Eve")).code is Code.NOT_FOUND


def test_a_link_without_a_number_of_uses_is_not_counted():
    there = room((InviteCreated(), BEN))
    assert decided(join(), there, DAN) == [MemberJoined(NamedUser("u_dan", "Dan"))]


def test_an_expired_a_revoked_and_an_unknown_link_are_refused_alike():
    refusals = [
        refused(join(), room((InviteCreated(NOW + timedelta(seconds=60)), BEN)), DAN, now=NOW + timedelta(seconds=60)),
        refused(join(), room((InviteCreated(), BEN), (InviteRevoked(FIRST), BEN)), DAN),
        refused(join(), room(), DAN),
        refused(join(), None, DAN),
    ]
    assert {(refusal.code, refusal.message) for refusal in refusals} == {(Code.NOT_FOUND, "There is no such invite.")}


def test_a_link_opens_no_archived_room_and_lets_in_nobody_who_is_banned():
    link = (InviteCreated(), BEN)
    assert refused(join(), room(link, (RoomArchived(), ANN)), DAN).code is Code.ROOM_ARCHIVED
    assert refused(join(), room(link, (MemberBanned(NamedUser("u_dan")), CAT)), DAN).code is Code.BANNED


def test_who_may_invite_makes_links_and_revokes_their_own():
    rule = PermissionsChanged(NamedUser("u_ben"), None, (), (Permission.INVITE,))
    assert refused(CreateInvite("i", ROOM), room((rule, ANN)), BEN).code is Code.FORBIDDEN
    theirs = room((InviteCreated(), CAT), (InviteCreated(), BEN))
    assert refused(RevokeInvite("r", ROOM, FIRST), theirs, BEN).code is Code.FORBIDDEN
    assert decided(RevokeInvite("r", ROOM, FIRST + 1), theirs, BEN) == [InviteRevoked(FIRST + 1)]
    assert decided(RevokeInvite("r", ROOM, FIRST + 1), theirs, CAT) == [InviteRevoked(FIRST + 1)], "a moderator may"
    assert decided(RevokeInvite("r", ROOM, 99), theirs, BEN) == []
    assert refused(RevokeInvite("r", ROOM, FIRST), theirs, DAN).code is Code.NOT_FOUND


def test_a_room_has_only_so_many_links_that_are_good():
    links = [(InviteCreated(NOW + timedelta(seconds=60)), BEN)] * 3
    limits = UserLimits(invites=3)
    assert refused(CreateInvite("i", ROOM), room(*links), BEN, limits=limits).code is Code.LIMIT_EXCEEDED
    later = NOW + timedelta(seconds=61)
    assert decided(CreateInvite("i", ROOM), room(*links), BEN, limits=limits, now=later) == [InviteCreated()]
