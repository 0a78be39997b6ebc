"""What is left of events, what a room is made of without them, and the ledger's lines."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import msgspec
import pytest

from parley.chat.domain.encoding.event_codec import CODEC, StoredEvent
from parley.chat.domain.encoding.recorded import Recorded
from parley.chat.domain.erasure import Erasure, ErasureScope, ErasureState, evolve_recorded, hidden, ranges
from parley.chat.domain.erasure_events import EventsErased
from parley.chat.domain.events import NamedUser
from parley.chat.domain.membership import MemberChanged, MemberInvited, MemberJoined, MemberLeft
from parley.chat.domain.messages import MessageSent
from parley.chat.domain.room import ChatEvent
from parley.chat.domain.rooms import RoomArchived, RoomCreated, RoomUpdated
from parley.chat.domain.state import Room
from parley.chat.log.erasure.erasure_statements import NEEDED_TYPES
from parley.chat.log.erasure.erasures import COVERS, EDITS
from parley.chat.log.erasure.ledger import Ledger, LedgerError

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def erasure(scope: ErasureScope = ErasureScope.USER, number: int = 1, **fields: Any) -> Erasure:
    given: dict[str, Any] = {
        "user_id": None,
        "room_id": None,
        "event_id": None,
        "before": None,
        "requested_at": NOW,
    } | fields
    return Erasure(UUID(int=number), scope, **given)


ANNS = erasure(user_id="u_ann")


def recorded(event: ChatEvent, sequence: int = 1, actor: str = "u_ann") -> Recorded:
    return Recorded(
        7, sequence, 0, UUID(int=sequence), event.TYPE, actor, actor.title(), "c", 5, CODEC.encode(event).data, NOW
    )  # fmt: skip


def test_an_erasure_is_requested_then_executing_then_completed():
    assert ANNS.state is ErasureState.REQUESTED
    assert erasure(started_at=NOW).state is ErasureState.EXECUTING
    assert erasure(started_at=NOW, completed_at=NOW).state is ErasureState.COMPLETED


@pytest.mark.parametrize(
    ("one", "covered", "not_covered"),
    [
        (ANNS, recorded(MessageSent("x")), recorded(MessageSent("u_ann"), actor="u_ben")),
        (
            ANNS,
            recorded(MemberInvited(NamedUser("u_ann")), 1, "u_ben"),
            recorded(MemberLeft(NamedUser("u_ben")), 1, "u_ben"),
        ),
        (erasure(ErasureScope.ROOM, room_id=7), recorded(RoomArchived("x")), recorded(EventsErased([(1, 1)]))),
        (
            erasure(ErasureScope.ROOM, room_id=7),
            recorded(MessageSent("x")),
            recorded(MessageSent("x"))._replace(room_id=8),
        ),
        (
            erasure(ErasureScope.MESSAGE, event_id=UUID(int=1)),
            recorded(MessageSent("x")),
            recorded(MessageSent("x"), 2),
        ),
        (
            erasure(ErasureScope.AGE, before=datetime(2026, 1, 3, tzinfo=UTC)),
            recorded(MessageSent("x")),
            recorded(MemberJoined(NamedUser("u_ann", "Ann"))),
        ),
    ],
)  # fmt: skip
def test_what_an_erasure_covers(one: Erasure, covered: Recorded, not_covered: Recorded):
    assert one.covers(covered)
    assert not one.covers(not_covered)


@pytest.mark.parametrize(
    ("event", "actor", "left"),
    [
        (MessageSent("secret", 3), "u_ann", {}),
        (MemberJoined(NamedUser("u_ann", "secret"), "owner"), "u_ann", {}),
        (MemberInvited(NamedUser("u_ann")), "u_ben", {}),
        (MemberInvited(NamedUser("u_ben", "secret")), "u_ann", {"user": {"id": "u_ben"}}),
        (MemberChanged(NamedUser("u_ben", "secret"), "owner"), "u_ann", {"user": {"id": "u_ben"}, "role": "owner"}),
        (RoomCreated("secret", "private", "secret"), "u_ann", {"name": "", "kind": "private"}),
        (RoomUpdated("secret", "secret"), "u_ann", {"name": "", "topic": ""}),
        (RoomUpdated(topic="secret"), "u_ann", {"topic": ""}),
        (RoomUpdated(custom={"secret": 1}), "u_ann", {"custom": {}}),
        (RoomArchived("secret"), "u_ann", {}),
    ],
)
def test_of_an_erased_event_only_what_others_are_made_of_is_left(event: ChatEvent, actor: str, left: dict[str, Any]):
    erased = ANNS.erase(recorded(event, actor=actor))
    assert msgspec.json.decode(erased.data) == left
    assert (erased.actor_id, erased.actor_name, erased.command_id, erased.fingerprint) == ("", "", "", 0)
    for shown in (erased, hidden(recorded(event, actor=actor))):
        told = msgspec.json.decode(msgspec.json.encode(shown.client_event()))
        assert (told["data"], told["actor"], told["id"], told["erased"]) == ({}, {"id": ""}, "", True)
        assert b"secret" not in shown.room_event().payload


def test_what_is_left_of_each_type_of_events_is_what_it_always_was():
    """By the examples in the log: what is left if the actor is erased, and if the room is; whether that counts."""
    named, of_message, invite = {"name": ""}, {"message": 7}, {"invite": 7}
    ben: dict[str, Any] = {"user": {"id": "u_ben"}}
    until = {"until": "2026-12-01T00:00:00Z"}
    left: dict[str, tuple[dict[str, Any], dict[str, Any], bool]] = {
        "room.created.1": (named | {"kind": "private"}, named | {"kind": "private"}, True),
        "member.invited.1": (ben, {}, True),
        "member.joined.1": (ben | {"role": "owner"}, {}, True),
        "member.left.1": (ben, {}, True),
        "message.sent.1": ({}, {}, False),
        "room.archived.1": ({}, {}, True),
        "room.updated.1": (named | {"topic": ""}, {}, True),
        "room.updated.2": (named, {}, True),
        "member.changed.1": ({"user": {"id": "u_cat"}, "role": "owner"}, {}, True),
        "message.edited.1": ({}, {}, False),
        "message.deleted.1": (of_message, {}, True),
        "reaction.added.1": ({}, {}, False),
        "reaction.removed.1": ({}, {}, False),
        "message.pinned.1": (of_message, {}, True),
        "message.unpinned.1": (of_message, {}, True),
        "thread.followed.1": (ben | {"thread": 7}, {}, True),
        "thread.unfollowed.1": (ben | {"thread": 7}, {}, True),
        "member.removed.1": (ben, {}, True),
        "member.banned.1": (ben | until, {}, True),
        "member.unbanned.1": (ben, {}, True),
        "member.muted.1": (ben | until, {}, True),
        "member.unmuted.1": (ben, {}, True),
        "member.added.1": (ben, {}, True),
        "permissions.changed.1": (
            {"role": "everyone", "allow": ["mention_all"], "deny": ["invite", "post"]},
            {},
            True,
        ),
        "room.unarchived.1": ({}, {}, True),
        "invite.created.1": ({}, {}, False),
        "invite.used.1": (invite, invite, True),
        "invite.revoked.1": (invite, invite, True),
    }
    room = erasure(ErasureScope.ROOM, room_id=7)
    stored = {path.stem: path for path in (Path(__file__).parent / "encoding" / "stored_events").iterdir()}
    assert left.keys() | {"events.erased.1"} == stored.keys()
    for name, (of_actor, of_room, counts) in left.items():
        example = msgspec.json.decode(stored[name].read_bytes())
        data = msgspec.json.encode(example["data"])
        kind, upcast = CODEC.upcast(StoredEvent(example["type"], example["version"], data))
        one = recorded(cast("ChatEvent", CODEC.read(kind, upcast)))
        erased, alone = ANNS.erase(one), room.erase(one)
        assert (erased.data, alone.data) == (msgspec.json.encode(of_actor), msgspec.json.encode(of_room)), name
        assert hidden(one).data == erased.data, name
        assert (one.applies, erased.applies) == (True, counts), name
        # Of a room that is erased whole, it counts what needs none of the data.
        assert alone.applies == (of_room != {} or name.startswith("room.")), name
        shown = of_actor if name.startswith("message.") else {}
        assert bytes(erased.client_event().data) == msgspec.json.encode(shown), name
        subject = msgspec.json.decode(one.data).get("user", {}).get("id")
        if subject is not None:
            assert not erasure(user_id=subject).erase(one).applies, name
    reply = recorded(MessageSent("secret", thread=3))
    assert ANNS.erase(reply).data == b'{"thread":3}'


def test_what_the_database_covers_is_what_the_types_of_events_say():
    assert EDITS == "20"
    assert "e.type IN (20) AND" in COVERS
    assert "e.type IN (20, 5)" in COVERS
    assert "e.type NOT IN (8)" in COVERS
    assert "e.type IN (35, 31, 7, 2, 3, 4, 33, 30, 32, 34, 36, 26, 27) AND e.data -> 'user'" in COVERS
    whole = {CODEC.stored_as(name)[0] for name in NEEDED_TYPES}
    assert whole == {1, 2, 3, 4, 6, 7, 9, 21, 22, 24, 25, 26, 27, 30, 31, 32, 33, 34, 35, 36, 40, 41}


def test_a_room_keeps_the_name_that_others_have_by_now():
    named = recorded(RoomUpdated("The den", "Ours"))
    assert msgspec.json.decode(ANNS.erase(named, keeps=["name"]).data) == {"name": "The den", "topic": ""}
    assert msgspec.json.decode(ANNS.erase(named, keeps=["topic"]).data) == {"name": "", "topic": "Ours"}
    ours = recorded(RoomUpdated(custom={"team": "a"}))
    assert msgspec.json.decode(ANNS.erase(ours, keeps=["custom"]).data) == {"custom": {"team": "a"}}
    made = ANNS.erase(recorded(RoomCreated("The den", "public", "Ours")), keeps=["name"])
    assert msgspec.json.decode(made.data) == {"name": "The den", "kind": "public"}
    alone = erasure(ErasureScope.ROOM, room_id=7).erase(recorded(RoomCreated("The den", "public")))
    assert msgspec.json.decode(alone.data) == {"name": "", "kind": "private"}


def test_a_room_is_made_from_any_part_of_its_events_that_is_erased():
    log = [
        recorded(RoomCreated("Den", "public"), 1),
        recorded(MemberJoined(NamedUser("u_ben", "Ben")), 2, "u_ben"),
        recorded(MemberInvited(NamedUser("u_cat")), 3),
        recorded(MemberLeft(NamedUser("u_ann", "Ann")), 4),
        recorded(MemberChanged(NamedUser("u_ben", "Ben"), "owner"), 5),
        recorded(MemberInvited(NamedUser("u_ann")), 6, "u_ben"),
        recorded(MemberJoined(NamedUser("u_ann", "Ann")), 7),
        recorded(MemberChanged(NamedUser("u_ann", "Ann"), "owner"), 8, "u_ben"),
        recorded(MemberChanged(NamedUser("u_ben", "Ben"), "member"), 9, "u_ben"),
        recorded(MemberLeft(NamedUser("u_ann", "Ann")), 10),
        recorded(MemberChanged(NamedUser("u_ben", "Ben"), "owner"), 11),
    ]
    for erased in range(len(log) + 1):
        room: Room | None = None
        for place, one in enumerate(log):
            room = evolve_recorded(room, ANNS.erase(one) if place < erased and ANNS.covers(one) else one)
        assert room is not None
        assert {user: member.role for user, member in room.members.items()} == {"u_ben": "owner", "u_cat": "member"}
        assert (room.member_count, room.head, room.changed) == (1, 11, 11)


def test_sequences_are_told_as_ranges():
    assert ranges([1, 2, 3, 7, 9, 10]) == [(1, 3), (7, 7), (9, 10)]
    assert ranges([]) == []


def test_the_ledger_keeps_every_whole_line_and_drops_a_torn_one(tmp_path: Path):
    ledger = Ledger(tmp_path / "erasures.jsonl")
    assert ledger.read() == []
    ledger.append([erasure(number=1, user_id="u_ann"), erasure(ErasureScope.ROOM, 2, room_id=7)])
    before = ledger.changed()
    with ledger.path.open("ab") as file:
        file.write(b'{"id":"0')
    assert len(ledger.read()) == 2
    ledger.append([erasure(ErasureScope.MESSAGE, 3, room_id=7, event_id=UUID(int=9))])
    assert [(one.id.int, one.user_id, one.room_id) for one in ledger.read()] == [
        (1, "u_ann", None),
        (2, None, 7),
        (3, None, 7),
    ]
    assert ledger.changed() != before
    assert ledger.path.stat().st_mode & 0o777 == 0o600


def test_a_ledger_that_says_nothing_is_told_from_one_that_cannot_be_read(tmp_path: Path):
    with pytest.raises(LedgerError, match="does not exist"):
        Ledger(tmp_path / "not mounted" / "erasures.jsonl").read()
    with pytest.raises(LedgerError, match="cannot read"):
        Ledger(tmp_path).read()
    (tmp_path / "broken").write_text('{"id": 1}\n')
    with pytest.raises(LedgerError, match="line 1 of the erasure ledger"):
        Ledger(tmp_path / "broken").read()
