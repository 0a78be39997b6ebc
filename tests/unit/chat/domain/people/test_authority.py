"""Moderators and rules of permissions: the owner decides, and commands heed what was decided."""

from __future__ import annotations

import pytest

from parley.chat.domain.events import NamedUser
from parley.chat.domain.membership import InviteUser, LeaveRoom, MemberChanged, TransferRoom, UserRef
from parley.chat.domain.messages import SendMessage
from parley.chat.domain.people.authority import ChangePermissions, ChangeRole, PermissionsChanged, RuleFor
from parley.chat.domain.permissions import Permission
from parley.chat.domain.rooms import ArchiveRoom, UpdateRoom
from parley.chat.domain.state import Room, UserLimits
from parley.common.errors import Code, Reject
from tests.support.chat.deciding import ANN, BEN, CAT, ROOM, decided, given, refused, with_members

POST = (Permission.POST,)


def ruled(*rules: RuleFor) -> Room:
    """Ann owns it, Cat moderates it, Ben is in it; and these rules hold."""
    room = given(*with_members(BEN, moderators=(CAT,)))
    events = decided(ChangePermissions("c", ROOM, list(rules)), room, ANN)
    return given(*with_members(BEN, moderators=(CAT,)), *((event, ANN) for event in events))


def test_the_owner_makes_moderators_and_unmakes_them():
    room = given(*with_members(BEN, moderators=(CAT,)))
    assert decided(ChangeRole("c", ROOM, "u_ben", "moderator"), room, ANN) == [
        MemberChanged(NamedUser("u_ben", "Ben"), "moderator")
    ]
    assert decided(ChangeRole("c", ROOM, "u_cat", "moderator"), room, ANN) == []
    assert decided(ChangeRole("c", ROOM, "u_cat", "member"), room, ANN) == [
        MemberChanged(NamedUser("u_cat", "Cat"), "member")
    ]
    assert refused(ChangeRole("c", ROOM, "u_ben", "moderator"), room, CAT).code is Code.FORBIDDEN
    assert refused(ChangeRole("c", ROOM, "u_ann", "member"), room, ANN).code is Code.FORBIDDEN, "ownership is not lost"
    assert refused(ChangeRole("c", ROOM, "u_eve", "moderator"), room, ANN).code is Code.INVALID_PAYLOAD


def test_a_room_given_away_has_one_owner_and_the_one_before_is_a_member():
    room = given(*with_members(BEN, moderators=(CAT,)))
    assert decided(TransferRoom("c", ROOM, "u_cat"), room, ANN) == [
        MemberChanged(NamedUser("u_cat", "Cat"), "owner"), MemberChanged(NamedUser("u_ann", "Ann"), "member")
    ]  # fmt: skip


def test_when_the_owner_leaves_the_room_still_has_one():
    events = decided(LeaveRoom("c", ROOM), given(*with_members(BEN, moderators=(CAT,))), ANN)
    assert events[1:] == [MemberChanged(NamedUser("u_ben", "Ben"), "owner")]


def test_an_announcement_room_is_written_in_by_moderators_and_who_is_let():
    room = ruled(RuleFor(role="everyone", deny=POST))
    assert refused(SendMessage("m", ROOM, "hi"), room, BEN).code is Code.FORBIDDEN
    assert decided(SendMessage("m", ROOM, "hi"), room, CAT)
    assert decided(SendMessage("m", ROOM, "hi"), room, ANN)
    room = ruled(RuleFor(role="everyone", deny=POST), RuleFor(user="u_ben", allow=POST))
    assert decided(SendMessage("m", ROOM, "hi"), room, BEN)


def test_commands_heed_the_rules():
    room = ruled(
        RuleFor(role="member", deny=(Permission.INVITE,), allow=(Permission.ARCHIVE,)),
        RuleFor(role="moderator", deny=(Permission.UPDATE, Permission.MODERATE)),
    )
    assert refused(InviteUser("i", ROOM, UserRef("u_eve")), room, BEN).code is Code.FORBIDDEN
    assert decided(ArchiveRoom("a", ROOM), room, BEN)
    assert refused(UpdateRoom("u", ROOM, name="New"), room, CAT).code is Code.FORBIDDEN
    assert refused(UpdateRoom("u", ROOM, slow_seconds=5), room, CAT).code is Code.FORBIDDEN
    assert decided(UpdateRoom("u", ROOM, name="New", slow_seconds=5), room, ANN)


def test_a_rule_takes_the_place_of_the_one_before_and_an_empty_one_is_none():
    room = ruled(RuleFor(role="everyone", deny=POST), RuleFor(user="u_ben", deny=POST))
    same = ChangePermissions("c", ROOM, [RuleFor(role="everyone", deny=POST), RuleFor(user="u_ben", deny=POST)])
    assert decided(same, room, ANN) == []
    none = ChangePermissions("c", ROOM, [RuleFor(role="everyone"), RuleFor(user="u_ben")])
    events = decided(none, room, ANN)
    assert events == [PermissionsChanged(None, "everyone"), PermissionsChanged(NamedUser("u_ben", "Ben"))]
    history = [*with_members(BEN, moderators=(CAT,)), *((event, ANN) for event in decided(same, given(
        *with_members(BEN, moderators=(CAT,))), ANN)), *((event, ANN) for event in events)]  # fmt: skip
    free = given(*history)
    assert (free.rules, free.restrictions) == ("", {})


def test_rules_are_the_owners_and_bounded():
    command = ChangePermissions("c", ROOM, [RuleFor(user=f"u_{n}", deny=POST) for n in range(3)])
    room = given(*with_members(moderators=(CAT,)))
    assert refused(command, room, CAT).code is Code.FORBIDDEN
    assert len(decided(command, room, ANN, limits=UserLimits(restricted=5), restricted=2)) == 3
    refusal = refused(command, room, ANN, limits=UserLimits(restricted=5), restricted=3)
    assert refusal.code is Code.LIMIT_EXCEEDED


@pytest.mark.parametrize(
    "rules",
    [
        [RuleFor(deny=POST)],
        [RuleFor("u_ben", "everyone", deny=POST)],
        [RuleFor("u_ben", deny=POST), RuleFor("u_ben", allow=POST)],
        [RuleFor("u\n", deny=POST)],
    ],
)
def test_a_rule_is_for_one_user_or_one_role(rules: list[RuleFor]):
    with pytest.raises(Reject) as caught:
        ChangePermissions("c", ROOM, rules).validate(1000)
    assert caught.value.code is Code.INVALID_PAYLOAD
