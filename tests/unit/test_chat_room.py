"""The rules of rooms: given a room, when a command comes, then this event or this rejection."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from parley.chat.domain.commands import (
    ArchiveRoom,
    CreateRoom,
    InviteUser,
    JoinRoom,
    LeaveRoom,
    RoomCommand,
    SendMessage,
    UserRef,
    validate,
)
from parley.chat.domain.events import (
    Event,
    MemberInvited,
    MemberJoined,
    MemberLeft,
    MessageSent,
    RoomArchived,
    RoomCreated,
    User,
)
from parley.chat.domain.room import Room, decide, evolve, room_id_of
from parley.common.errors import Code, Reject
from parley.common.wire.identity import Identity

ANN, BEN, ADMIN = Identity("u_ann", "Ann"), Identity("u_ben", "Ben"), Identity("u_root", "Root", ("admin",))
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def given(*events: tuple[Event, Identity]) -> Room | None:
    """The room these events, by these actors, lead to."""
    room: Room | None = None
    for sequence, (event, actor) in enumerate(events, start=1):
        room = evolve(room, event, "r1", sequence, User(actor.user_id, actor.name), NOW)
    return room


def created(kind: str = "public") -> tuple[Event, Identity]:
    """Ann made a room."""
    return RoomCreated("General", "private" if kind == "private" else "public"), ANN


def joined(who: Identity) -> tuple[Event, Identity]:
    """Somebody joined."""
    return MemberJoined(User(who.user_id, who.name)), who


def rejected(command: RoomCommand, room: Room | None, identity: Identity) -> Code:
    """The code a command is rejected with."""
    with pytest.raises(Reject) as caught:
        decide(command, room, identity)
    return caught.value.code


def test_creating_a_room_makes_its_maker_owner_and_member():
    room = given(created())
    assert room is not None
    assert (room.members["u_ann"].role, room.members["u_ann"].joined, room.member_count) == ("owner", True, 1)


def test_a_rooms_id_follows_from_its_maker_and_the_commands_id():
    command = CreateRoom("c1", "General")
    assert room_id_of(command, "u_ann") == room_id_of(CreateRoom("c1", "Other"), "u_ann")
    assert (
        len({room_id_of(command, "u_ann"), room_id_of(command, "u_ben"), room_id_of(CreateRoom("c2", "G"), "u_ann")})
        == 3
    )


def test_a_public_room_is_joined_by_anyone_and_joining_twice_changes_nothing():
    assert decide(JoinRoom("c", "r1"), given(created()), BEN) == MemberJoined(User("u_ben", "Ben"))
    assert decide(JoinRoom("c", "r1"), given(created(), joined(BEN)), BEN) is None


@pytest.mark.parametrize(
    "command",
    [
        JoinRoom("c", "r1"),
        LeaveRoom("c", "r1"),
        SendMessage("c", "r1", "hello"),
        InviteUser("c", "r1", UserRef("u_ben")),
        ArchiveRoom("c", "r1"),
    ],
)
def test_a_private_room_does_not_exist_for_others(command: RoomCommand):
    assert rejected(command, given(created("private")), BEN) is Code.NOT_FOUND
    assert rejected(command, None, BEN) is Code.NOT_FOUND


def test_an_invited_user_may_join_a_private_room_but_not_write_before():
    room = given(created("private"), (MemberInvited(User("u_ben")), ANN))
    assert rejected(SendMessage("c", "r1", "hi"), room, BEN) is Code.NOT_A_MEMBER
    assert decide(JoinRoom("c", "r1"), room, BEN) == MemberJoined(User("u_ben", "Ben"))


def test_only_members_write_to_a_public_room():
    assert rejected(SendMessage("c", "r1", "hi"), given(created()), BEN) is Code.NOT_A_MEMBER
    assert decide(SendMessage("c", "r1", "hi"), given(created()), ANN) == MessageSent("hi")


def test_a_reply_names_an_event_that_exists():
    assert decide(SendMessage("c", "r1", "hi", 1), given(created()), ANN) == MessageSent("hi", 1)
    assert rejected(SendMessage("c", "r1", "hi", 2), given(created()), ANN) is Code.INVALID_PAYLOAD


def test_leaving_ends_membership_and_the_count_follows():
    room = given(created(), joined(BEN), (MemberLeft(User("u_ben", "Ben")), BEN))
    assert room is not None
    assert ("u_ben" in room.members, room.member_count) == (False, 1)
    assert rejected(LeaveRoom("c", "r1"), room, BEN) is Code.NOT_A_MEMBER


def test_declining_an_invitation_does_not_lower_the_member_count():
    room = given(created(), (MemberInvited(User("u_ben")), ANN), (MemberLeft(User("u_ben")), BEN))
    assert room is not None
    assert room.member_count == 1


def test_only_owner_or_administrator_archives_and_an_archived_room_refuses_changes():
    room = given(created("private"), (MemberInvited(User("u_ben")), ANN), joined(BEN))
    assert rejected(ArchiveRoom("c", "r1"), room, BEN) is Code.FORBIDDEN
    assert decide(ArchiveRoom("c", "r1", "spam"), room, ADMIN) == RoomArchived("spam")
    closed = given(created(), (RoomArchived(), ANN))
    assert rejected(SendMessage("c", "r1", "hi"), closed, ANN) is Code.ROOM_ARCHIVED


@pytest.mark.parametrize("body", ["nul \x00 inside", "half \ud83d of a pair"])
def test_text_that_the_log_cannot_store_is_refused(body: str):
    with pytest.raises(Reject) as caught:
        validate(SendMessage("c", "r1", body), 1000)
    assert caught.value.code is Code.INVALID_PAYLOAD


def test_the_limit_of_a_message_counts_bytes_not_characters():
    validate(SendMessage("c", "r1", "a" * 100), 100)
    with pytest.raises(Reject) as caught:
        validate(SendMessage("c", "r1", "ü" * 51), 100)
    assert caught.value.code is Code.PAYLOAD_TOO_LARGE
