"""The rules of messages: given what became of them, when a command comes, then these events or this rejection."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from parley.chat.domain.encoding.room_ids import public_room_id
from parley.chat.domain.events import NamedUser
from parley.chat.domain.membership import MemberJoined
from parley.chat.domain.messages import MessageSent, SendMessage
from parley.chat.domain.messages.amending import (
    MAX_VERSIONS,
    DeleteMessage,
    EditMessage,
    MessageDeleted,
    MessageEdited,
)
from parley.chat.domain.messages.amendments import amend
from parley.chat.domain.messages.decisions import MessageCommand, MessageEvent, message_needs
from parley.chat.domain.messages.known import MessageState, RoomMessages, Target
from parley.chat.domain.messages.pins import MAX_PINS, MessagePinned, MessageUnpinned, PinMessage, UnpinMessage
from parley.chat.domain.messages.reactions import (
    AddReaction,
    ReactionAdded,
    ReactionRemoved,
    RemoveReaction,
    normalized_emoji,
)
from parley.chat.domain.messages.sending import MAX_DATA, MAX_MENTIONS, MessageLink
from parley.chat.domain.messages.threads import FollowThread, ThreadFollowed, ThreadUnfollowed, UnfollowThread
from parley.chat.domain.people.moderation import MemberMuted
from parley.chat.domain.room import ChatEvent, decide, evolve
from parley.chat.domain.rooms import ArchiveRoom, RoomArchived, RoomCreated
from parley.chat.domain.state import DecisionContext, Room
from parley.common.errors import Code, Reject
from parley.common.wire.identity import Identity

ANN, BEN, CAT = Identity("u_ann", "Ann"), Identity("u_ben", "Ben"), Identity("u_cat", "Cat")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
ROOM = public_room_id(1)
THUMB = "\N{THUMBS UP SIGN}"


class Given:
    """Ann's room with Ben and Cat, and what happened there. The first message is Ben's and has sequence 4."""

    def __init__(self, *happened: tuple[ChatEvent, Identity]) -> None:
        self.messages = RoomMessages()
        room: Room | None = None
        self.sequence = 0
        for event, actor in (
            (RoomCreated("General", "public"), ANN),
            (MemberJoined(NamedUser("u_ben", "Ben")), BEN),
            (MemberJoined(NamedUser("u_cat", "Cat")), CAT),
            (MessageSent("hello"), BEN),
            *happened,
        ):
            self.sequence += 1
            named = NamedUser(actor.user_id, actor.name)
            room = evolve(room, event, 1, self.sequence, named, NOW)
            if isinstance(event, MessageEvent):
                amend(self.messages, event, self.sequence, named, NOW)
        self.room = room

    def when(self, command: MessageCommand, who: Identity) -> list[ChatEvent]:
        """The events that a command leads to."""
        return decide(command, self.room, DecisionContext(who, messages=self.messages))

    def refused(self, command: MessageCommand, who: Identity) -> Reject:
        """Why a command is refused."""
        with pytest.raises(Reject) as caught:
            self.when(command, who)
        return caught.value


def valid(command: MessageCommand) -> Code | None:
    """The code that a command is refused with before anything is decided."""
    try:
        command.validate(1000)
    except Reject as rejection:
        return rejection.code
    return None


def test_an_edit_names_the_version_that_it_replaces():
    given = Given()
    assert given.when(EditMessage("c", ROOM, 4, "hi", 1), BEN) == [MessageEdited(4, "hi", 2)]
    given = Given((MessageEdited(4, "hi", 2), BEN))
    assert given.when(EditMessage("c", ROOM, 4, "hey", 2), BEN) == [MessageEdited(4, "hey", 3, 5)]
    refusal = given.refused(EditMessage("c", ROOM, 4, "hey", 1), BEN)
    assert (refusal.code, refusal.data, refusal.retryable) == (Code.CONFLICT, {"version": 2}, False)
    assert given.refused(EditMessage("c", ROOM, 4, "hey", 3), BEN).code is Code.CONFLICT
    assert given.refused(EditMessage("c", ROOM, 4, "hey", 2), ANN).code is Code.FORBIDDEN


def test_a_message_has_a_bounded_number_of_versions():
    given = Given((MessageEdited(4, "hi", MAX_VERSIONS), BEN))
    assert given.refused(EditMessage("c", ROOM, 4, "x", MAX_VERSIONS), BEN).code is Code.LIMIT_EXCEEDED


def test_a_deletion_is_final_and_takes_everything_but_the_thread_with_it():
    given = Given(
        (MessageEdited(4, "hi", 2), BEN), (ReactionAdded(4, THUMB), ANN), (MessagePinned(4), ANN),
        (MessageSent("re", thread=4), CAT),
    )  # fmt: skip
    assert given.refused(DeleteMessage("c", ROOM, 4), CAT).code is Code.FORBIDDEN
    assert given.when(DeleteMessage("c", ROOM, 4, "spam"), ANN) == [MessageDeleted(4, "spam")]
    assert given.when(DeleteMessage("c", ROOM, 4), BEN) == [MessageDeleted(4)]
    given = Given(*[(event, BEN) for event in (MessageEdited(4, "hi", 2), ReactionAdded(4, THUMB), MessagePinned(4),
                                               MessageSent("re", thread=4), MessageDeleted(4))])  # fmt: skip
    assert given.messages.states == {4: MessageState(deleted_in=9, replies=1, last_reply=8, last_reply_at=NOW)}
    assert (given.messages.reactions, given.messages.pins, given.messages.touched.deleted) == ({}, 0, {4: 5})
    commands: tuple[MessageCommand, ...] = (
        EditMessage("c", ROOM, 4, "x", 1), AddReaction("c", ROOM, 4, THUMB), PinMessage("c", ROOM, 4),
        RemoveReaction("c", ROOM, 4, THUMB), UnpinMessage("c", ROOM, 4), DeleteMessage("c", ROOM, 4),
    )  # fmt: skip
    for command in commands:
        assert given.refused(command, ANN if isinstance(command, PinMessage) else BEN).code is Code.NOT_FOUND, command
    # Its thread goes on.
    assert given.when(SendMessage("c", ROOM, "re", reply_to=4), CAT)
    assert given.when(SendMessage("c", ROOM, "re", thread=4), BEN)
    assert given.when(FollowThread("c", ROOM, 4), ANN) == [ThreadFollowed(4, NamedUser("u_ann"))]


def test_what_is_on_a_message_that_was_erased_otherwise_may_be_taken_back():
    given = Given((ReactionAdded(4, THUMB), BEN), (MessagePinned(4), ANN))
    given.messages.targets[4] = Target("", None, erased=True)
    assert given.when(RemoveReaction("c", ROOM, 4, THUMB), BEN) == [ReactionRemoved(4, THUMB)]
    assert given.when(UnpinMessage("c", ROOM, 4), ANN) == [MessageUnpinned(4)]
    for command in (AddReaction("c", ROOM, 4, "x"), PinMessage("c", ROOM, 4), DeleteMessage("c", ROOM, 4)):
        assert given.refused(command, ANN).code is Code.NOT_FOUND


def test_a_reaction_is_there_once_per_user_and_emoji():
    given = Given((ReactionAdded(4, THUMB), ANN), (ReactionAdded(4, THUMB), BEN), (ReactionAdded(4, "x"), ANN))
    assert given.messages.state_of(4).reactions == {THUMB: 2, "x": 1}
    assert given.when(AddReaction("c", ROOM, 4, THUMB), ANN) == []
    assert given.when(AddReaction("c", ROOM, 4, THUMB), CAT) == [ReactionAdded(4, THUMB)]
    assert given.when(RemoveReaction("c", ROOM, 4, THUMB), CAT) == []
    assert given.when(RemoveReaction("c", ROOM, 4, THUMB), BEN) == [ReactionRemoved(4, THUMB)]
    given = Given((ReactionAdded(4, THUMB), ANN), (ReactionRemoved(4, THUMB), ANN))
    assert given.messages.state_of(4) == MessageState()


def test_who_may_not_react_any_more_takes_back_what_they_said():
    muted = MemberMuted(NamedUser("u_ben", "Ben"), datetime(9999, 1, 1, tzinfo=UTC))
    given = Given((ReactionAdded(4, THUMB), BEN), (muted, ANN))
    assert given.refused(AddReaction("c", ROOM, 4, "x"), BEN).code is Code.MUTED
    assert given.when(RemoveReaction("c", ROOM, 4, THUMB), BEN) == [ReactionRemoved(4, THUMB)]


def test_a_message_takes_twenty_kinds_of_reactions_and_any_number_of_each():
    given = Given(*[(ReactionAdded(4, f"{n}"), ANN) for n in range(20)])
    assert given.refused(AddReaction("c", ROOM, 4, "more"), BEN).code is Code.LIMIT_EXCEEDED
    assert given.when(AddReaction("c", ROOM, 4, "7"), BEN) == [ReactionAdded(4, "7")]


@pytest.mark.parametrize(
    "emoji",
    [
        THUMB,
        "\N{WAVING BLACK FLAG}\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
        "\N{WOMAN}\N{EMOJI MODIFIER FITZPATRICK TYPE-4}\u200d\N{HEAVY BLACK HEART}\ufe0f\u200d\N{WOMAN}",
        "1\ufe0f\u20e3",
        ":party_parrot:",
        "e\u0301",
    ],
)
def test_every_emoji_is_one(emoji: str):
    assert valid(AddReaction("c", ROOM, 4, emoji)) is None


@pytest.mark.parametrize(
    "emoji",
    ["\x00", "\x07", "\n", "a\nb", "\u202e", "\u200d", "\ufe0f", " ", "a b", "\ud83d", "\U000e0067", "\u2800",
     "\N{FAMILY}" * 17, "\u0958" * 22],
)  # fmt: skip
def test_what_cannot_be_seen_or_is_long_is_no_emoji(emoji: str):
    assert valid(AddReaction("c", ROOM, 4, emoji)) is Code.INVALID_PAYLOAD


def test_an_emoji_of_ten_kilobytes_is_refused_by_its_type():
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"id": "c", "room": ROOM, "message": 4, "emoji": THUMB * 2500}, AddReaction)


def test_one_emoji_has_one_spelling():
    assert normalized_emoji("e\u0301") == normalized_emoji("\u00e9") == "\u00e9"


def test_a_room_has_a_bounded_number_of_pins():
    given = Given()
    assert given.refused(PinMessage("c", ROOM, 4), BEN).code is Code.FORBIDDEN
    assert given.when(PinMessage("c", ROOM, 4), ANN) == [MessagePinned(4)]
    assert given.when(UnpinMessage("c", ROOM, 4), ANN) == []
    given.messages.pins = MAX_PINS
    assert given.refused(PinMessage("c", ROOM, 4), ANN).code is Code.LIMIT_EXCEEDED
    given = Given((MessagePinned(4), ANN))
    assert given.when(PinMessage("c", ROOM, 4), ANN) == []
    assert given.when(UnpinMessage("c", ROOM, 4), ANN) == [MessageUnpinned(4)]


def test_a_reply_in_a_thread_makes_its_people_follow_it_once():
    given = Given()
    reply = SendMessage("c", ROOM, "hi", thread=4, mentions=("u_ann", "u_ann", "u_nobody"))
    sent = MessageSent("hi", thread=4, mentions=("u_ann", "u_nobody"))
    followed = [ThreadFollowed(4, NamedUser(user)) for user in ("u_cat", "u_ben", "u_ann")]
    assert given.when(reply, CAT) == [sent, *followed]
    given = Given(*[(one, CAT) for one in (sent, *followed)], (ThreadUnfollowed(4, NamedUser("u_ann")), ANN))
    assert given.when(reply, CAT) == [sent], "who stopped is not made to follow by others"
    assert given.when(SendMessage("c", ROOM, "me", thread=4), ANN) == [
        MessageSent("me", thread=4), ThreadFollowed(4, NamedUser("u_ann"))
    ]  # fmt: skip
    assert given.when(FollowThread("c", ROOM, 4), BEN) == []
    assert given.when(UnfollowThread("c", ROOM, 4), BEN) == [ThreadUnfollowed(4, NamedUser("u_ben"))]
    assert given.when(UnfollowThread("c", ROOM, 4), ANN) == []


def test_a_thread_begins_with_a_message_that_is_no_reply():
    given = Given((MessageSent("re", thread=4), CAT))
    for thread in (5, 1, 99):
        assert given.refused(SendMessage("c", ROOM, "hi", thread=thread), CAT).code is Code.INVALID_PAYLOAD
        assert given.refused(FollowThread("c", ROOM, thread), CAT).code is Code.INVALID_PAYLOAD
    assert given.when(SendMessage("c", ROOM, "hi", reply_to=5, thread=4), CAT)
    for reply_to in (1, 99):
        assert given.refused(SendMessage("c", ROOM, "hi", reply_to=reply_to), CAT).code is Code.INVALID_PAYLOAD


def test_mass_mentions_need_the_right_and_a_text_that_says_so():
    given = Given()
    for whom in ("all", "here"):
        ask: Any = {f"mention_{whom}": True}
        command = SendMessage("c", ROOM, f"Hello @{whom}!", **ask)
        assert valid(command) is None
        assert given.when(command, ANN) == [MessageSent(f"Hello @{whom}!", **ask)]
        assert given.refused(command, BEN).code is Code.FORBIDDEN
        assert valid(SendMessage("c", ROOM, f"`@{whom}`", **ask)) is Code.INVALID_PAYLOAD


def test_what_a_message_carries_is_bounded():
    many = [f"u{n}" for n in range(10_000)]
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"id": "c", "room": ROOM, "body": "x", "mentions": many}, SendMessage)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"id": "c", "room": ROOM, "body": "x", "data": [1]}, SendMessage)
    assert valid(SendMessage("c", ROOM, "x", mentions=tuple(many[:MAX_MENTIONS]))) is None
    assert valid(SendMessage("c", ROOM, "x", data={"a": {"b": [1, None, "\\u0000"]}})) is None
    assert valid(SendMessage("c", ROOM, "x", data={"a": "x" * MAX_DATA})) is Code.PAYLOAD_TOO_LARGE
    for bad in ({"a": ["\x00"]}, {"\x00": 1}, {"a": "\ud83d"}, {"\ud83d": 1}, {"a": "\\\x00"}):
        assert valid(SendMessage("c", ROOM, "x", data=bad)) is Code.INVALID_PAYLOAD
    assert valid(SendMessage("c", ROOM, "x", forward=MessageLink("r1", 1))) is Code.INVALID_PAYLOAD
    assert valid(SendMessage("c", ROOM, "x", forward=MessageLink(ROOM, 1))) is None


def test_only_members_of_an_open_room_do_anything():
    eve = Identity("u_eve", "Eve")
    commands: list[MessageCommand] = [
        EditMessage("c", ROOM, 4, "x", 1), DeleteMessage("c", ROOM, 4), AddReaction("c", ROOM, 4, "x"),
        RemoveReaction("c", ROOM, 4, "x"), PinMessage("c", ROOM, 4), UnpinMessage("c", ROOM, 4),
        FollowThread("c", ROOM, 4), UnfollowThread("c", ROOM, 4), SendMessage("c", ROOM, "x", thread=4),
    ]  # fmt: skip
    closed = Given((RoomArchived(), ANN))
    assert ArchiveRoom.NAME == "room.archive"
    for command in commands:
        assert Given().refused(command, eve).code is Code.NOT_A_MEMBER
        assert closed.refused(command, BEN).code is Code.ROOM_ARCHIVED
        # Nothing is known of a message where the room is not locked, so nothing is decided there.
        assert message_needs(command).messages == (4,)
