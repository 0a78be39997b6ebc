"""Direct rooms: the same people, the same room; nobody comes before there is something to read; nobody rules."""

from __future__ import annotations

import pytest

from parley.chat.domain.encoding.room_ids import LogSecret
from parley.chat.domain.events import NamedUser
from parley.chat.domain.membership import (
    InviteUser,
    JoinRoom,
    LeaveRoom,
    MemberJoined,
    MemberLeft,
    TransferRoom,
    UserRef,
)
from parley.chat.domain.messages import MessageSent, SendMessage
from parley.chat.domain.messages.amending import DeleteMessage, EditMessage
from parley.chat.domain.messages.amendments import amend
from parley.chat.domain.messages.known import RoomMessages
from parley.chat.domain.messages.pins import PinMessage, UnpinMessage
from parley.chat.domain.messages.reactions import AddReaction, RemoveReaction
from parley.chat.domain.people.authority import ChangePermissions, ChangeRole, RuleFor
from parley.chat.domain.people.direct import MOST, MemberAdded, OpenDirect
from parley.chat.domain.people.invites import CreateInvite
from parley.chat.domain.people.moderation import BanMember, MuteMember, RemoveMember
from parley.chat.domain.room import ChatCommand, room_of
from parley.chat.domain.rooms import ArchiveRoom, RoomCreated, UpdateRoom
from parley.chat.domain.state import Room, UserLimits
from parley.common.errors import Code
from tests.support.chat.deciding import ANN, BEN, CAT, NOW, ROOM, Happened, decided, given, refused

SECRET = LogSecret(b"x" * 32)
OPEN = OpenDirect("d", ["u_ben"])
MADE: list[Happened] = [(RoomCreated("", "direct"), ANN), (MemberAdded(NamedUser("u_ben")), ANN)]
SEND = SendMessage("m", ROOM, "hi")


def talking(*more: Happened) -> Room:
    """Ann and Ben have written to each other."""
    return given(*MADE, (MemberJoined(NamedUser("u_ben")), ANN), (MessageSent("hi"), ANN), *more)


def test_the_same_people_have_the_same_room_whoever_asks():
    key = room_of(OPEN, "u_ann", SECRET)
    assert key == room_of(OpenDirect("other", ["u_ann"]), "u_ben", SECRET)
    assert key == room_of(OpenDirect("d", ["u_ben", "u_ann", "u_ben"]), "u_ann", SECRET)
    others = {
        room_of(OPEN, "u_cat", SECRET),
        room_of(OpenDirect("d", ["u_ben", "u_cat"]), "u_ann", SECRET),
        room_of(OpenDirect("d", []), "u_ann", SECRET),
        room_of(OPEN, "u_ann", LogSecret(b"y" * 32)),
    }
    assert len({key, *others}) == 5


def test_the_others_come_with_the_first_message():
    assert decided(OPEN, None, ANN) == [event for event, _ in MADE]
    room = given(*MADE)
    assert room.participants == {"u_ann", "u_ben"}
    assert (room.visible_to("u_ann"), room.visible_to("u_ben"), room.members["u_ann"].role) == (True, False, "member")
    assert refused(SEND, room, BEN).code is Code.NOT_FOUND
    assert decided(SEND, room, ANN) == [MemberJoined(NamedUser("u_ben")), MessageSent("hi")]
    assert decided(SEND, talking(), BEN) == [MessageSent("hi")]


def test_asking_again_finds_the_room_and_brings_back_into_it():
    assert decided(OPEN, given(*MADE), ANN) == []
    other = OpenDirect("e", ["u_ann"])
    assert decided(other, given(*MADE), BEN) == [MemberJoined(NamedUser("u_ben", "Ben"))], "before anything was said"
    left = talking((MemberLeft(NamedUser("u_ben", "Ben")), BEN))
    assert decided(other, left, BEN) == [MemberJoined(NamedUser("u_ben", "Ben"))]


def test_who_has_left_comes_back_with_the_next_message():
    assert decided(LeaveRoom("l", ROOM), talking(), BEN) == [MemberLeft(NamedUser("u_ben", "Ben"))]
    left = talking((MemberLeft(NamedUser("u_ben", "Ben")), BEN))
    assert not left.visible_to("u_ben")
    assert decided(SEND, left, ANN) == [MemberJoined(NamedUser("u_ben")), MessageSent("hi")]
    assert decided(SEND, left, ANN, absent={"u_ben"}) == [MessageSent("hi")], "not while they are being erased"
    assert refused(SEND, left, ANN, locked=False), "who is missing is looked up under the lock"


def test_a_room_for_notes_is_ones_own():
    assert decided(OpenDirect("d", []), None, ANN) == [RoomCreated("", "direct")]
    assert decided(OpenDirect("d", ["u_ann"]), None, ANN) == [RoomCreated("", "direct")]
    assert decided(SEND, given((RoomCreated("", "direct"), ANN)), ANN) == [MessageSent("hi")]


@pytest.mark.parametrize(
    "command",
    [
        InviteUser("c", ROOM, UserRef("u_cat")),
        TransferRoom("c", ROOM, "u_ben"),
        UpdateRoom("c", ROOM, name="Ours"),
        UpdateRoom("c", ROOM, slow_seconds=9),
        ArchiveRoom("c", ROOM),
        RemoveMember("c", ROOM, "u_ben"),
        BanMember("c", ROOM, "u_ben"),
        MuteMember("c", ROOM, "u_ben"),
        ChangeRole("c", ROOM, "u_ben", "moderator"),
        ChangePermissions("c", ROOM, [RuleFor(role="everyone")]),
        CreateInvite("c", ROOM),
    ],
    ids=lambda command: command.NAME,
)
def test_nobody_has_any_power_in_it(command: ChatCommand):
    assert refused(command, talking(), ANN).code is Code.FORBIDDEN


def test_nobody_else_finds_or_joins_it():
    assert refused(JoinRoom("j", ROOM), talking(), CAT).code is Code.NOT_FOUND
    assert refused(SEND, talking(), CAT).code is Code.NOT_FOUND


def test_it_is_for_a_few_people_and_counts_as_a_room():
    users = [f"u_{n}" for n in range(MOST)]
    assert refused(OpenDirect("d", users), None, ANN).code is Code.INVALID_PAYLOAD
    assert len(decided(OpenDirect("d", users[1:]), None, ANN)) == MOST
    assert refused(OPEN, None, ANN, rooms=5, limits=UserLimits(rooms=5)).code is Code.LIMIT_EXCEEDED


@pytest.mark.parametrize("block", [("u_ann", "u_ben"), ("u_ben", "u_ann")])
def test_between_two_of_whom_one_has_blocked_the_other_nothing_is_begun_nor_said(block: tuple[str, str]):
    assert refused(OPEN, None, ANN, blocks={block}).code is Code.FORBIDDEN
    assert refused(SEND, talking(), ANN, blocks={block}).code is Code.FORBIDDEN
    assert refused(SEND, talking(), BEN, blocks={block}).code is Code.FORBIDDEN
    assert decided(OPEN, talking(), ANN, blocks={block}) == [], "what was said stays readable"


def test_among_several_a_block_silences_nobody():
    room = given(
        (RoomCreated("", "direct"), ANN), *((MemberAdded(NamedUser(user)), ANN) for user in ("u_ben", "u_cat"))
    )
    assert len(decided(SEND, room, ANN, blocks={("u_ben", "u_ann")})) == 3
    command = OpenDirect("d", ["u_ben", "u_cat"])
    assert refused(command, None, ANN, blocks={("u_ben", "u_ann")}).code is Code.FORBIDDEN, "but none is begun"


MESSAGE = 4


def test_who_is_blocked_reaches_the_other_by_nothing_else_and_may_take_back_what_is_theirs():
    room = talking()
    known = RoomMessages()
    amend(known, MessageSent("hi"), MESSAGE, NamedUser("u_ann"), NOW)
    reaching = (
        EditMessage("e", ROOM, MESSAGE, "so", 1), AddReaction("r", ROOM, MESSAGE, "x"), PinMessage("p", ROOM, MESSAGE)
    )  # fmt: skip
    taking_back = (
        DeleteMessage("d", ROOM, MESSAGE), RemoveReaction("r", ROOM, MESSAGE, "x"), UnpinMessage("p", ROOM, MESSAGE)
    )  # fmt: skip
    for blocks in ({("u_ann", "u_ben")}, {("u_ben", "u_ann")}):
        for command in reaching:
            assert refused(command, room, ANN, messages=known, blocks=blocks).code is Code.FORBIDDEN
        for command in taking_back:
            decided(command, room, ANN, messages=known, blocks=blocks)
    for command in reaching:
        assert decided(command, room, ANN, messages=known)
    group = given(*MADE, (MemberAdded(NamedUser("u_cat")), ANN), (MessageSent("hi"), ANN))
    assert decided(EditMessage("e", ROOM, MESSAGE, "all", 1), group, ANN, messages=known, blocks={("u_ben", "u_ann")})
