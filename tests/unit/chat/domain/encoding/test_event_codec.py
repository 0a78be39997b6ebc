"""What was once stored is read for ever: an example of each version of each type, as it was written then."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, get_args

import msgspec
import pytest

from parley.chat.domain.encoding.compact import pack, unpack
from parley.chat.domain.encoding.event_codec import CODEC, Codec, StoredEvent, UnknownEvent
from parley.chat.domain.erasure_events import EventsErased
from parley.chat.domain.events import EventData, NamedUser, Upcaster, WhenErased, about_user
from parley.chat.domain.membership import MemberChanged, MemberInvited, MemberJoined, MemberLeft
from parley.chat.domain.messages import MessageSent
from parley.chat.domain.messages.amending import MessageDeleted, MessageEdited
from parley.chat.domain.messages.amendments import AMENDING_TYPES
from parley.chat.domain.messages.decisions import MessageCommand
from parley.chat.domain.messages.pins import MessagePinned, MessageUnpinned
from parley.chat.domain.messages.reactions import ReactionAdded, ReactionRemoved
from parley.chat.domain.messages.threads import ThreadFollowed, ThreadUnfollowed
from parley.chat.domain.people.authority import PermissionsChanged
from parley.chat.domain.people.direct import MemberAdded
from parley.chat.domain.people.invites import InviteCreated, InviteRevoked, InviteUsed
from parley.chat.domain.people.moderation import (
    MemberBanned,
    MemberMuted,
    MemberRemoved,
    MemberUnbanned,
    MemberUnmuted,
)
from parley.chat.domain.permissions import Permission
from parley.chat.domain.room import ChatCommand, ChatEvent
from parley.chat.domain.rooms import RoomArchived, RoomCreated, RoomUnarchived, RoomUpdated

EXAMPLES = {path.stem: msgspec.json.decode(path.read_bytes()) for path in Path(__file__).parent.glob("stored_events/*")}
"""By `<type>.<version>`. They are never changed; a new version gets an example beside them."""
UNTIL = datetime(2026, 12, 1, tzinfo=UTC)
MEANING: dict[str, ChatEvent] = {
    "room.created.1": RoomCreated("General", "private"),
    "member.invited.1": MemberInvited(NamedUser("u_ben", "Ben")),
    "member.joined.1": MemberJoined(NamedUser("u_ben", "Ben"), "owner"),
    "member.left.1": MemberLeft(NamedUser("u_ben")),
    "message.sent.1": MessageSent("Hello", 7),
    "room.archived.1": RoomArchived("done"),
    "room.updated.1": RoomUpdated("Plans", "For the summer"),
    "room.updated.2": RoomUpdated("Plans"),
    "member.changed.1": MemberChanged(NamedUser("u_cat", "Cat"), "owner"),
    "events.erased.1": EventsErased([(1, 3), (7, 7)]),
    "message.edited.1": MessageEdited(7, "Hello!", 3, 9),
    "message.deleted.1": MessageDeleted(7, "spam"),
    "reaction.added.1": ReactionAdded(7, "\N{THUMBS UP SIGN}"),
    "reaction.removed.1": ReactionRemoved(7, "\N{THUMBS UP SIGN}"),
    "message.pinned.1": MessagePinned(7),
    "message.unpinned.1": MessageUnpinned(7),
    "thread.followed.1": ThreadFollowed(7, NamedUser("u_ben")),
    "thread.unfollowed.1": ThreadUnfollowed(7, NamedUser("u_ben")),
    "member.removed.1": MemberRemoved(NamedUser("u_ben", "Ben"), "Spam"),
    "member.banned.1": MemberBanned(NamedUser("u_ben", "Ben"), UNTIL, "Spam"),
    "member.unbanned.1": MemberUnbanned(NamedUser("u_ben")),
    "member.muted.1": MemberMuted(NamedUser("u_ben", "Ben"), UNTIL, "Too loud"),
    "member.unmuted.1": MemberUnmuted(NamedUser("u_ben", "Ben")),
    "member.added.1": MemberAdded(NamedUser("u_ben")),
    "permissions.changed.1": PermissionsChanged(
        None, "everyone", (Permission.MENTION_ALL,), (Permission.INVITE, Permission.POST)
    ),
    "room.unarchived.1": RoomUnarchived(),
    "invite.created.1": InviteCreated(UNTIL, 5),
    "invite.used.1": InviteUsed(7),
    "invite.revoked.1": InviteRevoked(7),
}
"""What each of them says, in today's types."""


def stored(name: str) -> StoredEvent:
    example = EXAMPLES[name]
    return StoredEvent(example["type"], example["version"], msgspec.json.encode(example["data"]))


@pytest.mark.parametrize("name", sorted(MEANING))
def test_a_stored_event_is_read_whatever_its_version(name: str):
    assert CODEC.decode(stored(name)) == MEANING[name]
    assert CODEC.upcast(stored(name))[0] == name.rpartition(".")[0]


def test_there_is_an_example_of_each_version_of_each_type():
    versions = {f"{kind.TYPE}.{n}" for kind in get_args(ChatEvent) for n in range(1, len(kind.UPCASTERS) + 2)}
    assert versions == set(EXAMPLES) == set(MEANING)


@pytest.mark.parametrize("kind", get_args(ChatEvent), ids=lambda kind: kind.TYPE)
def test_what_is_written_today_is_the_latest_example(kind: type[ChatEvent]):
    name = f"{kind.TYPE}.{len(kind.UPCASTERS) + 1}"
    written = CODEC.encode(MEANING[name])
    assert (
        (written.number, written.version) == (stored(name).number, stored(name).version) == CODEC.stored_as(kind.TYPE)
    )
    assert msgspec.json.decode(written.data) == EXAMPLES[name]["data"]


def with_topic(data: dict[str, Any]) -> dict[str, Any]:
    return {**data, "topic": data["name"].lower()}


def with_title(data: dict[str, Any]) -> dict[str, Any]:
    return {"title": data["name"], "topic": data["topic"]}


class Renamed(EventData, frozen=True):
    """Its data once had a name, then a name and a topic, and now a title and a topic."""

    TYPE: ClassVar[str] = "room.renamed"
    NUMBER: ClassVar[int] = 1
    UPCASTERS: ClassVar[tuple[Upcaster, ...]] = (with_topic, with_title)
    WHEN_ERASED: ClassVar[WhenErased] = WhenErased()

    title: str
    topic: str = ""


@pytest.mark.parametrize(
    ("version", "data"),
    [(1, b'{"name":"Art"}'), (2, b'{"name":"Art","topic":"art"}'), (3, b'{"title":"Art","topic":"art"}')],
)
def test_older_versions_are_brought_up_to_date_for_clients_too(version: int, data: bytes):
    codec = Codec([Renamed])
    assert codec.decode(StoredEvent(1, version, data)) == Renamed("Art", "art")
    assert codec.upcast(StoredEvent(1, version, data)) == ("room.renamed", b'{"title":"Art","topic":"art"}')
    assert codec.encode(Renamed("Art")) == (1, 3, b'{"title":"Art"}')


@pytest.mark.parametrize("unknown", [StoredEvent(99, 1, b"{}"), StoredEvent(1, 4, b"{}")])
def test_what_a_newer_version_of_the_code_wrote_is_not_guessed_at(unknown: StoredEvent):
    with pytest.raises(UnknownEvent):
        Codec([Renamed]).decode(unknown)


def test_no_two_types_have_one_number():
    with pytest.raises(ValueError, match="one number"):
        Codec([Renamed, Renamed])


class Forgotten(EventData, frozen=True):
    """It does not say what is left of it when it is erased."""

    TYPE: ClassVar[str] = "room.painted"
    NUMBER: ClassVar[int] = 2

    user: NamedUser
    colour: str


class Inheriting(Renamed, frozen=True):
    """What its parent says of itself is not said of it."""


class Host(EventData, frozen=True):
    """It names a user, whom an erasure would not find."""

    TYPE: ClassVar[str] = "room.hosted"
    NUMBER: ClassVar[int] = 3

    host: NamedUser | None = None


@pytest.mark.parametrize(
    ("kind", "rule", "why"),
    [
        (Forgotten, None, "does not say"),
        (Inheriting, None, "does not say"),
        (Forgotten, WhenErased(), "does not keep whom"),
        (Forgotten, about_user(), "too little to be applied"),
        (Forgotten, about_user("colour", "size"), "a field that it does not have"),
        (Forgotten, WhenErased(("user",), message_text=True), "a field that it does not have"),
        (Host, WhenErased(), None),
        (Host, WhenErased(("host",)), None),
    ],
)
def test_a_type_of_events_has_to_say_what_an_erasure_leaves_of_it(
    kind: type[EventData], rule: WhenErased | None, why: str | None, monkeypatch: pytest.MonkeyPatch
):
    if rule is not None:
        monkeypatch.setattr(kind, "WHEN_ERASED", rule, raising=False)
    with pytest.raises(ValueError, match=why or "names a user elsewhere"):
        Codec([kind])
    monkeypatch.setattr(Forgotten, "WHEN_ERASED", about_user("colour"), raising=False)
    assert Codec([Forgotten]).stored_as("room.painted") == (2, 1)


def test_commands_and_events_agree_on_whether_decisions_read_what_they_change():
    of_messages = {kind.NAME for kind in get_args(MessageCommand)}
    assert {kind.NAME for kind in get_args(ChatCommand) if not kind.CHANGES_DECISIONS} == of_messages
    others = {"message.sent", "events.erased"}
    assert {kind.TYPE for kind in get_args(ChatEvent) if not kind.CHANGES_DECISIONS} == AMENDING_TYPES | others


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0197b1b2-7a5e-7cc3-beb0-91fc0e8b9750", 17),
        ("u_0197b1b27a5e7cc3beb091fc0e8b9750", 17),
        ("0197B1B2-7A5E-7CC3-BEB0-91FC0E8B9750", 36),
        ("u_0197b1b27a5e7cc3beb091fc0e8b975", 33),
        ("0197b1b2-7a5e-7cc3-beb0-91fc0e8b9750\n", 37),
        ("m1", 2),
        ("auth0|62f", 9),
        ("\x01abc", 5),
        ("\x02" + "a" * 16, 18),
        ("é", 2),
    ],
)
def test_an_id_comes_back_as_it_was_and_a_uuid_takes_few_bytes(text: str, size: int):
    packed = pack(text)
    assert (unpack(packed), len(packed)) == (text, size)


def test_no_two_ids_are_stored_alike():
    texts = ["\x00", "\x00\x00", "\x01", "\x01" + "\x00" * 16, "00000000-0000-0000-0000-000000000000", "u_" + "0" * 32]
    assert len({pack(text) for text in texts}) == len(texts)
    assert all(re.match(rb"[\x00-\x02]", pack(text)) for text in texts)
