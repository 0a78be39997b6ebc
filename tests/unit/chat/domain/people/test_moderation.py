"""Removing, banning and muting: who may do it to whom, and until when it holds."""

from __future__ import annotations

from datetime import timedelta

import pytest

from parley.chat.domain.events import NamedUser
from parley.chat.domain.membership import InviteUser, JoinRoom, LeaveRoom, MemberInvited, MemberJoined, UserRef
from parley.chat.domain.messages import MessageSent, SendMessage
from parley.chat.domain.people.invites import InviteCreated
from parley.chat.domain.people.moderation import (
    BanMember,
    MemberBanned,
    MemberMuted,
    MemberRemoved,
    MemberUnbanned,
    MemberUnmuted,
    ModerationCommand,
    MuteMember,
    RemoveMember,
    UnbanMember,
    UnmuteMember,
)
from parley.chat.domain.rooms import RoomArchived
from parley.chat.domain.state import Room, UserLimits
from parley.common.errors import Code
from tests.support.chat.deciding import ANN, BEN, CAT, DAN, NOW, ROOM, Happened, decided, given, refused, with_members

BEN_USER = NamedUser("u_ben", "Ben")
ALL: list[ModerationCommand] = [
    RemoveMember("c", ROOM, "u_ben"),
    BanMember("c", ROOM, "u_ben"),
    UnbanMember("c", ROOM, "u_ben"),
    MuteMember("c", ROOM, "u_ben"),
    UnmuteMember("c", ROOM, "u_ben"),
]


def room(*more: Happened) -> Room:
    """Ann owns it, Cat and Dan moderate it, Ben is in it."""
    return given(*with_members(BEN, moderators=(CAT, DAN)), *more)


def at(seconds: float) -> dict[str, object]:
    return {"now": NOW + timedelta(seconds=seconds)}


@pytest.mark.parametrize("command", ALL, ids=lambda command: command.NAME)
def test_members_moderate_nobody(command: ModerationCommand):
    assert refused(command, given(*with_members(BEN, CAT)), CAT).code is Code.FORBIDDEN
    assert refused(command, room(), BEN.__class__("u_eve", "Eve")).code is Code.NOT_A_MEMBER
    assert refused(command, room((RoomArchived(), ANN)), ANN).code is Code.ROOM_ARCHIVED


@pytest.mark.parametrize("kind", [RemoveMember, BanMember, MuteMember], ids=lambda kind: kind.NAME)
def test_moderators_touch_neither_the_owner_nor_each_other(kind: type[RemoveMember]):
    assert refused(kind("c", ROOM, "u_ann"), room(), CAT).code is Code.FORBIDDEN
    assert refused(kind("c", ROOM, "u_dan"), room(), CAT).code is Code.FORBIDDEN
    assert refused(kind("c", ROOM, "u_cat"), room(), CAT).code is Code.INVALID_PAYLOAD, "nor themselves"
    assert decided(kind("c", ROOM, "u_ben"), room(), CAT)
    assert decided(kind("c", ROOM, "u_cat"), room(), ANN), "the owner may"


def test_removing_ends_a_membership_or_an_invitation():
    command = RemoveMember("c", ROOM, "u_ben", "spam")
    assert decided(command, room(), CAT) == [MemberRemoved(BEN_USER, "spam")]
    gone = room((MemberRemoved(BEN_USER), CAT))
    assert (gone.is_in("u_ben"), gone.member_count) == (False, 3)
    assert decided(command, gone, CAT) == [], "who is not there stays away"
    assert decided(JoinRoom("j", ROOM), gone, BEN) == [MemberJoined(BEN_USER)], "a removal is no ban"
    invited = given(*with_members(), (MemberInvited(NamedUser("u_ben")), ANN))
    assert decided(command, invited, ANN) == [MemberRemoved(NamedUser("u_ben"), "spam")], "whose name nobody knows yet"


def test_a_ban_removes_and_keeps_out_until_it_ends():
    until = NOW + timedelta(seconds=60)
    events = decided(BanMember("c", ROOM, "u_ben", 60, "spam"), room(), CAT)
    assert events == [MemberBanned(BEN_USER, until, "spam"), MemberRemoved(BEN_USER)]
    banned = room(*((event, CAT) for event in events))
    refusal = refused(JoinRoom("j", ROOM), banned, BEN, **at(59.9))
    assert (refusal.code, refusal.data) == (Code.BANNED, {"banned_until": until.isoformat()})
    assert refused(SendMessage("m", ROOM, "hi"), banned, BEN, **at(59.9)).code is Code.NOT_A_MEMBER
    assert refused(InviteUser("i", ROOM, UserRef("u_ben")), banned, ANN, **at(59.9)).code is Code.FORBIDDEN
    assert decided(JoinRoom("j", ROOM), banned, BEN, **at(60)) == [MemberJoined(BEN_USER)]


def test_a_ban_without_an_end_lasts_until_it_is_lifted():
    banned = room((MemberBanned(BEN_USER), CAT), (MemberRemoved(BEN_USER), CAT))
    refusal = refused(JoinRoom("j", ROOM), banned, BEN, **at(10**9))
    assert (refusal.code, refusal.data) == (Code.BANNED, None)
    assert decided(BanMember("c", ROOM, "u_ben"), banned, CAT) == [], "banned is banned"
    assert decided(UnbanMember("c", ROOM, "u_ben"), banned, CAT) == [MemberUnbanned(NamedUser("u_ben"))]
    free = room((MemberBanned(BEN_USER), CAT), (MemberRemoved(BEN_USER), CAT), (MemberUnbanned(BEN_USER), CAT))
    assert free.restrictions == {}
    assert decided(JoinRoom("j", ROOM), free, BEN) == [MemberJoined(BEN_USER)]
    assert decided(UnbanMember("c", ROOM, "u_ben"), free, CAT) == []


def test_who_never_came_can_be_banned_up_to_a_limit():
    limits = UserLimits(restricted=2)
    command = BanMember("c", ROOM, "u_far")
    assert decided(command, room(), CAT, limits=limits, restricted=1) == [MemberBanned(NamedUser("u_far"))]
    assert refused(command, room(), CAT, limits=limits, restricted=2).code is Code.LIMIT_EXCEEDED
    known = room((MemberMuted(BEN_USER), CAT))
    assert decided(BanMember("c", ROOM, "u_ben"), known, CAT, limits=limits, restricted=2), "no new place is taken"


def test_a_mute_holds_through_leaving_and_coming_back_until_it_ends():
    until = NOW + timedelta(seconds=60)
    assert decided(MuteMember("c", ROOM, "u_ben", 60, "loud"), room(), CAT) == [MemberMuted(BEN_USER, until, "loud")]
    left = decided(LeaveRoom("l", ROOM), room(), BEN)
    muted = room((MemberMuted(BEN_USER, until), CAT), (left[0], BEN), (MemberJoined(BEN_USER), BEN))
    refusal = refused(SendMessage("m", ROOM, "hi"), muted, BEN, **at(59.9))
    assert (refusal.code, refusal.data) == (Code.MUTED, {"muted_until": until.isoformat()})
    assert decided(SendMessage("m", ROOM, "hi"), muted, BEN, **at(60)) == [MessageSent("hi")]
    assert decided(UnmuteMember("c", ROOM, "u_ben"), muted, CAT) == [MemberUnmuted(BEN_USER)]
    assert decided(UnmuteMember("c", ROOM, "u_ben"), muted, CAT, **at(61)) == [], "it has ended by itself"


def test_what_is_known_without_a_lock_never_says_that_a_mute_has_ended():
    muted = room((MemberMuted(BEN_USER, NOW), CAT))
    assert refused(SendMessage("m", ROOM, "hi"), muted, BEN, locked=False, now=NOW.min.replace(tzinfo=NOW.tzinfo))


@pytest.mark.parametrize("command", [RemoveMember("c", ROOM, "u_ben"), BanMember("c", ROOM, "u_ben")])
def test_the_links_of_who_is_removed_are_void(command: ModerationCommand):
    made = room((InviteCreated(), BEN), (InviteCreated(), ANN))
    assert len(made.invites) == 2
    events = [(event, CAT) for event in decided(command, made, CAT)]
    left = room((InviteCreated(), BEN), (InviteCreated(), ANN), *events)
    assert [invite.created_by for invite in left.invites.values()] == ["u_ann"]


def test_so_are_those_of_a_banned_user_who_had_left():
    left = decided(LeaveRoom("l", ROOM), room(), BEN)
    assert room((InviteCreated(), BEN), (left[0], BEN)).invites, "leaving alone takes none away"
    assert room((InviteCreated(), BEN), (left[0], BEN), (MemberBanned(BEN_USER), CAT)).invites == {}
