"""A batch of commands against loaded state: each on its own, and each sees what the earlier ones changed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import cast

from parley.chat.domain.batch import decide_batch
from parley.chat.domain.batch_state import Accepted, BatchDecision, LoadedState, Outcome, Remembered, Submission
from parley.chat.domain.draft import Drafts, candidates, decision_of, draft
from parley.chat.domain.encoding.room_ids import LogSecret, event_id, public_room_id
from parley.chat.domain.membership import InviteUser, JoinRoom, LeaveRoom, UserRef
from parley.chat.domain.messages import SendMessage
from parley.chat.domain.room import ChatCommand
from parley.chat.domain.rooms import ArchiveRoom, CreateRoom
from parley.chat.domain.state import Member, Room, UserLimits
from parley.chat.log.known_rooms import KnownRooms
from parley.common.errors import Code, Reject
from parley.common.wire.identity import Identity

ANN, BEN, CAT = (Identity(f"u_{name.lower()}", name) for name in ("Ann", "Ben", "Cat"))
NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECRET = LogSecret(b"x" * 32)


def submissions(*commands: tuple[ChatCommand, Identity]) -> list[Submission]:
    return [Submission(command, identity, "", SECRET) for command, identity in commands]


def run(
    loaded: LoadedState, *commands: tuple[ChatCommand, Identity], limits: UserLimits | None = None
) -> BatchDecision:
    batch = submissions(*commands)
    for one in batch:
        if one.needs.rooms:
            loaded.joined.setdefault(one.identity.user_id, 0)
        if one.needs.invitations:
            loaded.invitations.setdefault((one.room_id, one.identity.user_id), 0)
    return decide_batch(batch, loaded, limits or UserLimits())


def made(kind: str = "public", command_id: str = "c") -> tuple[LoadedState, str]:
    """A room by Ann, and its id."""
    loaded = LoadedState(NOW)
    create = CreateRoom(command_id, "General", "private" if kind == "private" else "public")
    (outcome,) = run(loaded, (create, ANN)).outcomes
    return loaded, room_shown(outcome).id


def room_shown(outcome: Outcome) -> Room:
    assert isinstance(outcome, Accepted)
    assert outcome.room is not None
    return outcome.room


def codes(result: BatchDecision) -> list[Code | str]:
    return [outcome.code if isinstance(outcome, Reject) else "ok" for outcome in result.outcomes]


def test_at_the_limit_of_rooms_one_is_left_and_another_joined_in_one_batch():
    loaded, first = made()
    _, other = made(command_id="other")
    loaded.rooms |= made(command_id="other")[0].rooms
    loaded.joined = {"u_ben": 0}
    result = run(
        loaded, (JoinRoom("1", first), BEN), (JoinRoom("2", other), BEN), (LeaveRoom("3", first), BEN),
        (JoinRoom("4", other), BEN), limits=UserLimits(rooms=1),
    )  # fmt: skip
    assert codes(result) == ["ok", Code.LIMIT_EXCEEDED, "ok", "ok"]


def test_an_archived_room_counts_no_more_towards_the_limit():
    loaded, room = made()
    loaded.joined = {"u_ann": 1}
    result = run(loaded, (ArchiveRoom("1", room), ANN), (CreateRoom("2", "Next"), ANN), limits=UserLimits(rooms=1))
    assert codes(result) == ["ok", "ok"]


def test_an_ack_shows_the_room_as_it_was_right_after_the_command():
    loaded, room = made()
    result = run(loaded, (JoinRoom("1", room), BEN), (JoinRoom("2", room), CAT), (LeaveRoom("3", room), BEN))
    shown = room_shown(result.outcomes[0])
    assert (shown.is_in("u_ben"), shown.member_count, shown.head, list(shown.members)) == (True, 2, 2, ["u_ben"])


def test_a_resend_shows_nothing_of_a_private_room_to_who_has_left_it():
    loaded, room = made("private")
    run(loaded, (InviteUser("i", room, UserRef("u_ben")), ANN), (JoinRoom("j", room), BEN), (LeaveRoom("l", room), BEN))
    (again,) = run(loaded, (JoinRoom("j", room), BEN)).outcomes
    assert isinstance(again, Accepted)
    assert (again.room, again.sequence) == (None, 3)


def test_a_command_that_appended_nothing_is_remembered():
    loaded, room = made()
    run(loaded, (JoinRoom("j", room), BEN))
    result = run(loaded, (JoinRoom("again", room), BEN), (LeaveRoom("l", room), BEN), (JoinRoom("again", room), BEN))
    assert codes(result) == ["ok", "ok", "ok"]
    assert [recorded.type for recorded in result.appended] == ["member.left"], "the late one joins nobody"
    ((key, (room_id, remembered)),) = result.remembered.items()
    assert key == event_id(room_id, "u_ben", "again")
    assert remembered == Remembered(SECRET.fingerprint(JoinRoom("again", room)), 2)
    assert codes(run(loaded, (LeaveRoom("again", room), BEN))) == [Code.ID_CONFLICT]


def test_a_command_may_lead_to_several_events_and_is_recognised_by_the_first():
    loaded, room = made()
    run(loaded, (JoinRoom("j", room), BEN), (SendMessage("m", room, "hi"), BEN))
    result = run(loaded, (LeaveRoom("l", room), ANN), (SendMessage("n", room, "yo"), BEN), (LeaveRoom("l", room), ANN))
    assert codes(result) == ["ok", "ok", "ok"]
    assert [(one.type, one.sequence, one.number) for one in result.appended] == [
        ("member.left", 4, 1), ("member.changed", 5, 1), ("message.sent", 6, 2),
    ]  # fmt: skip
    assert len({one.event_id for one in result.appended}) == 3
    assert [cast("Accepted", outcome).sequence for outcome in result.outcomes] == [4, 6, 4]
    assert [sequence for _, sequence in result.repeated] == [4, 5], "all of its events are told again"


def test_invitations_wait_up_to_the_limit_and_an_answer_makes_place():
    loaded, room = made("private")
    invite = [(InviteUser(f"i{n}", room, UserRef(f"u_{n}")), ANN) for n in range(3)]
    assert codes(run(loaded, *invite, limits=UserLimits(invitations=2))) == ["ok", "ok", Code.LIMIT_EXCEEDED]
    declined = (LeaveRoom("no", room), Identity("u_0", "Zero"))
    assert codes(run(loaded, declined, invite[2], limits=UserLimits(invitations=2))) == ["ok", "ok"]


def known(*rooms: Room) -> KnownRooms:
    result = KnownRooms()
    for room in rooms:
        result.learn(room, 0)
    return result


def drafts(found: KnownRooms, *commands: tuple[ChatCommand, Identity]) -> Drafts:
    batch = submissions(*commands)
    return draft(batch, candidates(batch), found.find)


def test_what_is_known_drafts_only_messages_of_actors_who_send_nothing_else():
    loaded, room = made()
    run(loaded, (JoinRoom("j", room), BEN), (JoinRoom("j", room), CAT))
    (state,) = loaded.rooms.values()
    other = public_room_id(7)
    result = drafts(
        known(state),
        (SendMessage("1", room, "a"), ANN), (SendMessage("2", room, "b"), BEN), (SendMessage("3", other, "c"), BEN),
        (SendMessage("4", room, "d"), ANN), (SendMessage("5", room, "e"), CAT), (LeaveRoom("6", room), CAT),
    )  # fmt: skip
    assert [(one.place, one.ordinal, one.number) for one in result.rooms[state.room_id][1]] == [(0, 1, 1), (3, 2, 2)]
    assert result.rest == [1, 2, 4, 5]


def test_what_follows_a_command_that_is_no_plain_yes_does_not_overtake_it():
    loaded, room = made()
    (state,) = loaded.rooms.values()
    message = SendMessage("1", room, "a")
    commands = [message, message, SendMessage("2", room, "b"), SendMessage("3", room, "far", 99)]
    result = drafts(known(state), *((command, ANN) for command in commands), (SendMessage("4", room, "c"), BEN))
    assert result.rest == [1, 2, 3, 4]


def test_a_resend_that_turns_up_leaves_the_draft_and_the_others_close_ranks():
    loaded, room = made()
    (state,) = loaded.rooms.values()
    result = drafts(known(state), *((SendMessage(str(n), room, "x"), ANN) for n in range(4)))
    result.leave_resent({event_id(state.room_id, "u_ann", "1")})
    done, places = decision_of(result, {state.room_id: (10, 5)}, NOW)
    assert (result.rest, places) == ([1], [0, 2, 3])
    assert [(one.command_id, one.sequence, one.number) for one in done.appended] == [
        ("0", 11, 6), ("2", 12, 7), ("3", 13, 8),
    ]  # fmt: skip


def test_known_rooms_keep_what_is_newer_and_are_bounded():
    def room(changed: int, *users: str, room_id: int = 1) -> Room:
        members = {user: Member(user, user, "joined", "member", 1) for user in users}
        return Room(room_id, "R", "public", "a", NOW, changed=changed, members=members)

    found = KnownRooms(max_rooms=2, max_members=3)
    found.learn(room(5, "a"), 5)
    found.learn(room(4, "b"), 4)
    assert found.find(1, "b") is None, "older than what is known"
    found.learn(room(5, "b"), 5)
    assert found.find(1, "a") is found.find(1, "b") is not None, "of the same state"
    found.learn(room(7, "c"), 6, ["a"])
    assert found.find(1, "a") is None, "something happened in between"
    found.learn(room(1, "a", room_id=2), 0)
    found.learn(room(1, "a", room_id=3), 0)
    assert [found.find(number, user) is None for number, user in ((1, "c"), (2, "a"), (3, "a"))] == [True, False, False]
    found.learn(room(1, "a", "b", "c", room_id=4), 0)
    assert found.find(3, "a") is None
    found.forget([4, 9])
    found.learn(room(1, "a", "b", "c", room_id=5), 0)
    assert found.find(5, "a") is not None
