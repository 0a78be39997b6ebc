"""The rules of rooms: given a room, when a command comes, then this event or this rejection."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, get_args, get_origin

import msgspec
import pytest

from parley.chat.domain.encoding import room_ids
from parley.chat.domain.encoding.room_ids import LogSecret, event_id, public_room_id, room_key
from parley.chat.domain.events import NamedUser
from parley.chat.domain.membership import (
    InviteUser,
    JoinRoom,
    LeaveRoom,
    MemberChanged,
    MemberInvited,
    MemberJoined,
    MemberLeft,
    TransferRoom,
    UserRef,
)
from parley.chat.domain.messages import MessageSent, SendMessage
from parley.chat.domain.people.invites import RevokeInvite
from parley.chat.domain.room import ChatCommand, ChatEvent, decide, evolve, room_of, sequence_when_done
from parley.chat.domain.rooms import (
    ArchiveRoom,
    CloseRoom,
    CreateRoom,
    RoomArchived,
    RoomCreated,
    RoomUnarchived,
    RoomUpdated,
    UnarchiveRoom,
    UpdateRoom,
)
from parley.chat.domain.state import DecisionContext, Room, UserLimits
from parley.common.errors import Code, Reject
from parley.common.wire.identity import Identity
from parley.common.wire.text import check_name

ANN, BEN, CAT = Identity("u_ann", "Ann"), Identity("u_ben", "Ben"), Identity("u_cat", "Cat")
ADMIN = Identity("u_root", "Root", ("admin",))
NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECRET = LogSecret(b"x" * 32)
ROOM = public_room_id(1)


def given(*events: tuple[ChatEvent, Identity]) -> Room | None:
    """The room these events, by these actors, lead to."""
    room: Room | None = None
    for sequence, (event, actor) in enumerate(events, start=1):
        room = evolve(room, event, 1, sequence, NamedUser(actor.user_id, actor.name), NOW)
    return room


def created(kind: str = "public") -> tuple[ChatEvent, Identity]:
    """Ann made a room."""
    return RoomCreated("General", "private" if kind == "private" else "public"), ANN


def joined(who: Identity) -> tuple[ChatEvent, Identity]:
    """Somebody joined."""
    return MemberJoined(NamedUser(who.user_id, who.name)), who


def rejected(command: ChatCommand, room: Room | None, identity: Identity) -> Code:
    """The code a command is rejected with."""
    with pytest.raises(Reject) as caught:
        decide(command, room, DecisionContext(identity))
    return caught.value.code


def decided(command: ChatCommand, room: Room | None, identity: Identity) -> list[ChatEvent]:
    """The events a command leads to."""
    return decide(command, room, DecisionContext(identity))


def test_creating_a_room_makes_its_maker_owner_and_member():
    room = given(created())
    assert room is not None
    assert (room.members["u_ann"].role, room.members["u_ann"].joined, room.member_count) == ("owner", True, 1)


def test_a_rooms_id_follows_from_its_maker_and_the_commands_id_and_the_logs_secret():
    command = CreateRoom("c1", "General")
    made = room_of(command, "u_ann", SECRET)
    assert made == room_of(CreateRoom("c1", "Other"), "u_ann", SECRET)
    others = {
        room_of(command, "u_ben", SECRET),
        room_of(CreateRoom("c2", "G"), "u_ann", SECRET),
        room_of(command, "u_ann", LogSecret(b"y" * 32)),
    }
    assert len({made, *others}) == 4


@pytest.mark.parametrize("room_id", [0, 1, -1, 2**63 - 1, -(2**63), 1234567890123456789])
def test_a_rooms_key_and_its_public_id_follow_from_each_other(room_id: int):
    public = public_room_id(room_id)
    assert (public[0], len(public), public == public.lower()) == ("r", 14, True)
    assert room_key(public) == room_id


@pytest.mark.parametrize(
    "text",
    ["", "r", "nowhere", "raaaaaaaaaaaab", "RAAAAAAAAAAAAA", "raaaaaaaaaaaaaa", "raaaaaa=aaaaaa", "r" + "é" * 13],
)
def test_another_spelling_is_no_rooms_id(text: str):
    assert room_key(text) is None
    with pytest.raises(Reject) as caught:
        room_of(JoinRoom("c", text), "u_ann", SECRET)
    assert caught.value.code is Code.NOT_FOUND


def test_an_events_id_follows_from_its_command_and_is_a_uuid():
    first = event_id(1, "u_ann", "c1")
    others = {event_id(1, "u_ann", "c1", 1), event_id(2, "u_ann", "c1"), event_id(1, "u_ben", "c1")}
    assert first == event_id(1, "u_ann", "c1")
    assert first.version == 8
    assert len({first, event_id(1, "u_ann", "c2"), *others}) == 5


def test_a_field_that_a_later_version_adds_changes_no_fingerprint():
    class SendMessageLater(SendMessage, frozen=True):
        thread: int | None = None

    sent = SendMessage("c", ROOM, "hello")
    assert SECRET.fingerprint(SendMessageLater("c", ROOM, "hello")) == SECRET.fingerprint(sent)
    assert SECRET.fingerprint(SendMessageLater("c", ROOM, "hello", thread=1)) != SECRET.fingerprint(sent)
    assert SECRET.fingerprint(SendMessage("c", ROOM, "hello!")) != SECRET.fingerprint(sent)
    assert SECRET.fingerprint(LeaveRoom("c", ROOM)) != SECRET.fingerprint(JoinRoom("c", ROOM))
    assert LogSecret(b"y" * 32).fingerprint(sent) != SECRET.fingerprint(sent)


def test_a_public_room_is_joined_by_anyone_and_joining_twice_changes_nothing():
    assert decided(JoinRoom("c", ROOM), given(created()), BEN) == [MemberJoined(NamedUser("u_ben", "Ben"))]
    assert decided(JoinRoom("c", ROOM), given(created(), joined(BEN)), BEN) == []


@pytest.mark.parametrize(
    "command",
    [
        JoinRoom("c", ROOM),
        LeaveRoom("c", ROOM),
        SendMessage("c", ROOM, "hello"),
        InviteUser("c", ROOM, UserRef("u_ben")),
        ArchiveRoom("c", ROOM),
    ],
)
def test_a_private_room_does_not_exist_for_others(command: ChatCommand):
    assert rejected(command, given(created("private")), BEN) is Code.NOT_FOUND
    assert rejected(command, None, BEN) is Code.NOT_FOUND


def test_an_invited_user_may_join_a_private_room_but_not_write_before():
    room = given(created("private"), (MemberInvited(NamedUser("u_ben")), ANN))
    assert rejected(SendMessage("c", ROOM, "hi"), room, BEN) is Code.NOT_A_MEMBER
    assert decided(JoinRoom("c", ROOM), room, BEN) == [MemberJoined(NamedUser("u_ben", "Ben"))]


def test_only_members_write_to_a_public_room():
    assert rejected(SendMessage("c", ROOM, "hi"), given(created()), BEN) is Code.NOT_A_MEMBER
    assert decided(SendMessage("c", ROOM, "hi"), given(created()), ANN) == [MessageSent("hi")]


def test_leaving_ends_membership_and_the_count_follows():
    room = given(created(), joined(BEN), (MemberLeft(NamedUser("u_ben", "Ben")), BEN))
    assert room is not None
    assert ("u_ben" in room.members, room.member_count) == (False, 1)
    assert rejected(LeaveRoom("c", ROOM), room, BEN) is Code.NOT_A_MEMBER


def test_declining_an_invitation_does_not_lower_the_member_count():
    room = given(created(), (MemberInvited(NamedUser("u_ben")), ANN), (MemberLeft(NamedUser("u_ben")), BEN))
    assert room is not None
    assert room.member_count == 1


def test_only_the_owner_archives_and_an_archived_room_refuses_changes():
    room = given(created("private"), (MemberInvited(NamedUser("u_ben")), ANN), joined(BEN))
    assert rejected(ArchiveRoom("c", ROOM), room, BEN) is Code.FORBIDDEN
    assert decided(ArchiveRoom("c", ROOM, "spam"), room, ANN) == [RoomArchived("spam")]
    assert rejected(ArchiveRoom("c", ROOM), room, ADMIN) is Code.NOT_FOUND
    closed = given(created(), (RoomArchived(), ANN))
    assert rejected(SendMessage("c", ROOM, "hi"), closed, ANN) is Code.ROOM_ARCHIVED


def test_an_administrator_closes_any_room_once_and_nobody_else_does():
    room = given(created("private"))
    assert decided(CloseRoom("c", ROOM, "spam"), room, ADMIN) == [RoomArchived("spam", closed=True)]
    assert decided(CloseRoom("c", ROOM), given(created(), (RoomArchived(closed=True), ADMIN)), ADMIN) == []
    assert rejected(CloseRoom("c", ROOM), room, ANN) is Code.FORBIDDEN
    assert rejected(CloseRoom("c", ROOM), None, ADMIN) is Code.NOT_FOUND


def test_an_archived_room_is_opened_again_by_its_owner_unless_an_administrator_closed_it():
    room = given(created(), joined(BEN), (RoomArchived("done"), ANN))
    assert decided(UnarchiveRoom("c", ROOM), room, ANN) == [RoomUnarchived()]
    assert rejected(UnarchiveRoom("c", ROOM), room, BEN) is Code.FORBIDDEN
    open_again = given(created(), joined(BEN), (RoomArchived("done"), ANN), (RoomUnarchived(), ANN))
    assert decided(UnarchiveRoom("c", ROOM), open_again, ANN) == []
    assert decided(SendMessage("c", ROOM, "hi"), open_again, BEN) == [MessageSent("hi")]
    closed = decided(CloseRoom("c", ROOM), room, ADMIN)
    assert closed == [RoomArchived(closed=True)], "that the owner had archived it does not keep it open to them"
    room = given(created(), joined(BEN), (RoomArchived("done"), ANN), (closed[0], ADMIN))
    assert rejected(UnarchiveRoom("c", ROOM), room, ANN) is Code.FORBIDDEN


def test_an_archived_room_is_left_and_its_invitations_declined():
    invited = (MemberInvited(NamedUser("u_cat")), ANN)
    closed = given(
        created("private"), (MemberInvited(NamedUser("u_ben")), ANN), joined(BEN), invited, (RoomArchived(), ANN)
    )
    assert decided(LeaveRoom("c", ROOM), closed, BEN) == [MemberLeft(NamedUser("u_ben", "Ben"))]
    assert decided(LeaveRoom("c", ROOM), closed, CAT) == [MemberLeft(NamedUser("u_cat", "Cat"))]
    assert rejected(JoinRoom("c", ROOM), closed, CAT) is Code.ROOM_ARCHIVED


def test_a_room_goes_from_an_owner_who_leaves_to_who_is_there_the_longest():
    room = given(created(), joined(BEN), joined(CAT))
    left, changed = decided(LeaveRoom("c", ROOM), room, ANN)
    assert (left, changed) == (MemberLeft(NamedUser("u_ann", "Ann")), MemberChanged(NamedUser("u_ben", "Ben"), "owner"))
    room = given(created(), joined(BEN), joined(CAT), (left, ANN), (changed, ANN))
    assert room is not None
    assert (room.members["u_ben"].role, room.members["u_ben"].sequence) == ("owner", 2), "since the join, not since now"
    assert decided(ArchiveRoom("c", ROOM), room, BEN) == [RoomArchived()]
    assert decided(JoinRoom("c", ROOM), room, ANN) == [MemberJoined(NamedUser("u_ann", "Ann"))]
    assert decided(LeaveRoom("c", ROOM), room, CAT) == [MemberLeft(NamedUser("u_cat", "Cat"))]


def test_an_owner_gives_the_room_to_a_member_and_only_so():
    room = given(created(), joined(BEN))
    assert rejected(TransferRoom("t", ROOM, "u_ben"), room, BEN) is Code.FORBIDDEN
    assert rejected(TransferRoom("t", ROOM, "u_cat"), room, ANN) is Code.INVALID_PAYLOAD
    assert rejected(TransferRoom("t", ROOM, "u_ann"), room, CAT) is Code.NOT_A_MEMBER
    assert decided(TransferRoom("t", ROOM, "u_ann"), room, ANN) == []
    events = decided(TransferRoom("t", ROOM, "u_ben"), room, ANN)
    room = given(created(), joined(BEN), *((event, ANN) for event in events))
    assert room is not None
    assert {user: member.role for user, member in room.members.items()} == {"u_ann": "member", "u_ben": "owner"}
    assert rejected(ArchiveRoom("a", ROOM), room, ANN) is Code.FORBIDDEN


def test_an_owner_who_comes_back_to_the_empty_room_owns_it_again():
    empty = given(created(), (MemberLeft(NamedUser("u_ann", "Ann")), ANN))
    (back,) = decided(JoinRoom("c", ROOM), empty, ANN)
    assert back == MemberJoined(NamedUser("u_ann", "Ann"), "owner")
    room = given(created(), (MemberLeft(NamedUser("u_ann", "Ann")), ANN), (back, ANN))
    assert decided(ArchiveRoom("c", ROOM), room, ANN) == [RoomArchived()]


def test_the_next_owner_is_nobody_who_was_only_invited():
    room = given(created("private"), (MemberInvited(NamedUser("u_ben")), ANN))
    assert decided(LeaveRoom("c", ROOM), room, ANN) == [MemberLeft(NamedUser("u_ann", "Ann"))]


def test_invitations_that_wait_are_bounded_per_room_and_inviter():
    context = DecisionContext(ANN, UserLimits(invitations=2), invitations=2)
    with pytest.raises(Reject) as caught:
        decide(InviteUser("c", ROOM, UserRef("u_ben")), given(created()), context)
    assert caught.value.code is Code.LIMIT_EXCEEDED
    invited = given(created(), (MemberInvited(NamedUser("u_ben")), ANN))
    assert decide(InviteUser("c", ROOM, UserRef("u_ben")), invited, context) == []


def test_an_owner_changes_what_a_room_is_called_and_keeps_what_is_left_out():
    room = given(created(), joined(BEN), (RoomUpdated("Plans", "Summer"), ANN))
    assert room is not None
    assert (room.name, room.topic, room.changed) == ("Plans", "Summer", 3)
    assert decided(UpdateRoom("c", ROOM, "Winter"), room, ANN) == [RoomUpdated("Winter")]
    assert decided(UpdateRoom("c", ROOM, topic=""), room, ANN) == [RoomUpdated(topic="")]
    assert decided(UpdateRoom("c", ROOM, "Plans"), room, ANN) == []
    assert sequence_when_done(UpdateRoom("c", ROOM, "Plans"), room, DecisionContext(ANN)) == 3
    assert rejected(UpdateRoom("c", ROOM, "Mine"), room, BEN) is Code.FORBIDDEN
    assert rejected(UpdateRoom("c", ROOM, "Mine"), room, CAT) is Code.NOT_A_MEMBER
    assert rejected(UpdateRoom("c", ROOM, "Mine"), given(created("private")), CAT) is Code.NOT_FOUND
    closed = given(created(), (RoomArchived(), ANN))
    assert rejected(UpdateRoom("c", ROOM, "Mine"), closed, ANN) is Code.ROOM_ARCHIVED


@pytest.mark.parametrize("fields", [{}, {"name": " "}, {"topic": "a\nb"}, {"name": "fine", "topic": "\x00"}])
def test_an_update_says_something_that_can_be_read(fields: dict[str, Any]):
    with pytest.raises(Reject) as caught:
        UpdateRoom("c", ROOM, **fields).validate(1000)
    assert caught.value.code is Code.INVALID_PAYLOAD


def test_who_declined_is_left_alone_for_a_while_and_who_left_is_not():
    invited = (MemberInvited(NamedUser("u_ben")), ANN)
    declined = given(created("private"), invited, (MemberLeft(NamedUser("u_ben", "Ben")), BEN))
    invite, limits = InviteUser("c", ROOM, UserRef("u_ben")), UserLimits(invite_again=timedelta(hours=1))
    with pytest.raises(Reject) as caught:
        decide(invite, declined, DecisionContext(ANN, limits, now=NOW + timedelta(minutes=59)))
    assert caught.value.code is Code.FORBIDDEN
    later = DecisionContext(ANN, limits, now=NOW + timedelta(hours=1))
    assert decide(invite, declined, later) == [MemberInvited(NamedUser("u_ben"))]
    left = given(created("private"), invited, joined(BEN), (MemberLeft(NamedUser("u_ben", "Ben")), BEN))
    assert decide(invite, left, DecisionContext(ANN, limits, now=NOW)) == [MemberInvited(NamedUser("u_ben"))]


def test_an_invitation_is_for_an_id_that_shows_what_it_is():
    for odd in ("a\nb", "\u202enimda", "\u200b"):
        with pytest.raises(Reject):
            InviteUser("c", ROOM, UserRef(odd)).validate(1000)
    InviteUser("c", ROOM, UserRef("auth0|Ägypten 7")).validate(1000)


def test_an_invitation_says_nothing_of_what_the_invited_user_is_called():
    command = msgspec.convert({"id": "c", "room": ROOM, "user": {"id": "u_ben", "name": "Administrator"}}, InviteUser)
    (event,) = decide(command, given(created()), DecisionContext(ANN))
    assert msgspec.json.encode(event) == b'{"user":{"id":"u_ben"}}'


@pytest.mark.parametrize(
    "name",
    [" ", "\u200b", "x\u200b", "\u202egnp.exe", "a\nb", "a\x00", "\u3164", "\u2800\u00a0", "\u200d", "\ufeffAdmin",
     "\u2066x", "a\u2028b", "half \ud83d", "\x7f", "\u0301"],
)  # fmt: skip
def test_a_name_that_reads_as_another_or_as_none_is_refused(name: str):
    with pytest.raises(Reject) as caught:
        CreateRoom("c", name).validate(1000)
    assert caught.value.code is Code.INVALID_PAYLOAD


@pytest.mark.parametrize(
    ("topic", "fine"), [("", True), ("Plans for Q3 🎉", True), ("two\nlines", False), ("\u202e", False)]
)
def test_a_topic_is_one_line_and_may_be_empty(topic: str, *, fine: bool):
    command = CreateRoom("c", "General", topic=topic)
    if not fine:
        with pytest.raises(Reject):
            command.validate(1000)
        return
    command.validate(1000)
    assert decided(command, None, ANN) == [RoomCreated("General", "public", topic)]


@pytest.mark.parametrize("name", ["Général", "👩‍👩‍👧 family", "می‌خواهم", "会議", "e\u0301te", "-"])
def test_names_of_all_languages_are_accepted(name: str):
    check_name(name)


@pytest.mark.parametrize("id_", ["abc\n", "a b", "", "x" * 65, "é"])
def test_a_commands_id_is_printable_ascii_to_its_end(id_: str):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"id": id_, "room": ROOM}, JoinRoom)
    assert msgspec.convert({"id": "abc", "room": ROOM}, JoinRoom).id == "abc"


def texts(kind: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Where a command may hold text, in whatever is inside of it."""
    for field in msgspec.structs.fields(kind):
        for annotated in get_args(field.type) or (field.type,):
            option = get_args(annotated)[0] if get_origin(annotated) is Annotated else annotated
            if option is str:
                yield (*path, field.name)
            elif isinstance(option, type) and issubclass(option, msgspec.Struct):
                yield from texts(option, (*path, field.name))


@pytest.mark.parametrize(
    ("kind", "path"), [pytest.param(kind, path, id=f"{kind.NAME} {'.'.join(path)}")
                       for kind in get_args(ChatCommand) for path in texts(kind)]
)  # fmt: skip
@pytest.mark.parametrize("bad", ["nul \x00", "half \ud83d"])
def test_no_text_of_any_command_holds_what_cannot_be_stored(kind: Any, path: tuple[str, ...], bad: str):
    fields: dict[str, Any] = {"id": "c", "room": ROOM, "name": "n", "body": "b", "user": "u", "users": ["u"]}
    fields |= {"role": "member", "rules": [{"role": "everyone", "deny": ["post"]}]}
    fields |= {"message": 1, "version": 1, "emoji": "x", "thread": 1, "forward": {"room": ROOM, "message": 1}}
    if kind is InviteUser:
        fields["user"] = {"id": "u"}
    if kind is RevokeInvite:
        fields["invite"] = 1
    holder = fields if len(path) == 1 else fields[path[0]]
    msgspec.convert(fields, kind).validate(1000)
    holder[path[-1]] = bad
    with pytest.raises((msgspec.ValidationError, Reject)) as caught:
        msgspec.convert(fields, kind).validate(1000)
    assert getattr(caught.value, "code", Code.INVALID_PAYLOAD) is Code.INVALID_PAYLOAD


def test_texts_that_are_no_rooms_id_take_no_memory():
    before = room_ids._room_key.cache_info().currsize
    assert room_key("x" * 30_000) is None
    assert room_ids._room_key.cache_info().currsize == before


@pytest.mark.parametrize("body", ["nul \x00 inside", "half \ud83d of a pair"])
def test_text_that_the_log_cannot_store_is_refused(body: str):
    with pytest.raises(Reject) as caught:
        SendMessage("c", ROOM, body).validate(1000)
    assert caught.value.code is Code.INVALID_PAYLOAD


def test_the_limit_of_a_message_counts_bytes_not_characters():
    SendMessage("c", ROOM, "a" * 100).validate(100)
    with pytest.raises(Reject) as caught:
        SendMessage("c", ROOM, "ü" * 51).validate(100)
    assert caught.value.code is Code.PAYLOAD_TOO_LARGE
