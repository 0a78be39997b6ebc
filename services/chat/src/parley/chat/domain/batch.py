"""Decides a batch of commands in order, pure. The writer calls it with the rooms' locks held.

A command sees what earlier commands of the same batch changed. A rejected command changes nothing.
"""

from __future__ import annotations

from parley.chat.domain.batch_state import Accepted, BatchDecision, LoadedState, Outcome, People, Remembered, Submission
from parley.chat.domain.encoding.event_codec import CODEC
from parley.chat.domain.encoding.recorded import Recorded
from parley.chat.domain.erasure import texts_dropped_by
from parley.chat.domain.events import NamedUser
from parley.chat.domain.membership import JoinRoom, LeaveRoom
from parley.chat.domain.messages import MessageSent
from parley.chat.domain.messages.amendments import amend
from parley.chat.domain.messages.decisions import MessageEvent
from parley.chat.domain.messages.known import RoomMessages
from parley.chat.domain.people.direct import OpenDirect
from parley.chat.domain.room import ChatEvent, changed_member, decide, evolve, sequence_when_done
from parley.chat.domain.rooms import CreateRoom, RoomArchived, RoomCreated, RoomUnarchived
from parley.chat.domain.state import NO_UPLOADS, DecisionContext, Room, UserLimits
from parley.common.errors import Code, Reject
from parley.common.wire.rooms import MembershipChange


def decide_batch(submissions: list[Submission], loaded: LoadedState, limits: UserLimits) -> BatchDecision:
    """Decide every command in order. Never raises for one of them: the outcome of a refused command is its `Reject`."""
    result = BatchDecision()
    for submission in submissions:
        try:
            outcome: Outcome = _decide_one(submission, loaded, limits, result)
        except Reject as rejection:
            outcome = rejection
        result.outcomes.append(outcome)
    return result


def _decide_one(submission: Submission, loaded: LoadedState, limits: UserLimits, result: BatchDecision) -> Accepted:
    command, identity, room_id = submission.command, submission.identity, submission.room_id
    room = loaded.rooms.get(room_id)
    # Looked up before anything is decided: a resent command gets its first result, even if it would be refused by now.
    # A room that its sender may not lock is not loaded, so nobody learns by a guessed id what others have sent.
    if room is not None and (earlier := loaded.earlier.get(submission.key)) is not None:
        return _again(submission, room, earlier, loaded, result)
    if (of_room := loaded.erasing.get(submission.key)) is not None:
        # In the words for a room that does not exist: from the request on, an erased room exists for nobody.
        if of_room:
            raise Reject(Code.NOT_FOUND, "There is no such room.")
        raise Reject(Code.FORBIDDEN, "What this user wrote is being erased.")
    context = DecisionContext(
        identity,
        limits,
        loaded.joined.get(identity.user_id, 0),
        loaded.invitations.get((room_id, identity.user_id), 0),
        loaded.now,
        loaded.messages.setdefault(room_id, RoomMessages()),
        restricted=loaded.restricted.get(room_id, 0),
        posted=loaded.posted.get((room_id, identity.user_id)),
        blocks=loaded.blocks,
        absent=loaded.absent,
        screened=submission.screened,
        uploads=loaded.uploads.get(identity.user_id, NO_UPLOADS),
    )
    events = decide(command, room, context)
    if events:
        recorded = [_append(submission, index, event, loaded, result) for index, event in enumerate(events)]
        # So that a resend later in the same batch finds it.
        loaded.earlier[submission.key] = recorded
        told = _acked_event(recorded)
        shown = _shown(submission, loaded.rooms[room_id])
        return Accepted(shown, told, told.sequence, submission.code(told.sequence))
    assert room is not None  # noqa: S101 - without a room, decide either makes one or refuses
    remembered = Remembered(submission.fingerprint, sequence_when_done(command, room, context))
    loaded.earlier[submission.key] = remembered
    result.remembered[submission.key] = room_id, remembered
    _confirm(submission, room, remembered.sequence, result)
    return Accepted(_shown(submission, room), None, remembered.sequence)


def _again(
    submission: Submission, room: Room, earlier: list[Recorded] | Remembered, loaded: LoadedState, result: BatchDecision
) -> Accepted:
    """Return the first result of a command that is sent again. Raises `Reject(id_conflict)` for another command."""
    events = [] if isinstance(earlier, Remembered) else earlier
    first = earlier if isinstance(earlier, Remembered) else earlier[0]
    # An erased event has lost its fingerprint, so its id alone has to recognise the command.
    if first.fingerprint != submission.fingerprint and not (events and events[0].erased):
        raise Reject(Code.ID_CONFLICT)
    for recorded in events:
        result.repeated[room.room_id, recorded.sequence] = recorded
    _confirm(submission, room, first.sequence, result)
    shown = None if submission.key in loaded.erasing else _shown(submission, room)
    if not events:
        return Accepted(shown, None, first.sequence)
    told = _acked_event(events)
    return Accepted(shown, told, told.sequence, submission.code(told.sequence))


def _acked_event(events: list[Recorded]) -> Recorded:
    """Return the event of a command that its ack tells of."""
    return next((one for one in events if one.type == MessageSent.TYPE), events[0])


def _shown(submission: Submission, room: Room) -> Room | None:
    """Return the room for the command's ack, or None.

    A sender who has left a private room since the first send sees nothing.
    """
    user_id = submission.identity.user_id
    return room.as_seen_by(user_id) if submission.command.SHOWS_ROOM and room.visible_to(user_id) else None


def _confirm(submission: Submission, room: Room, sequence: int, result: BatchDecision) -> None:
    """Publish a resent join or leave again. Its sender may resend it because the first publication was lost."""
    user_id = submission.identity.user_id
    member = room.members.get(user_id)
    if isinstance(submission.command, CreateRoom | JoinRoom | OpenDirect) and member and member.joined:
        result.confirmed.append((user_id, MembershipChange(room.id, True, member.sequence)))
    elif isinstance(submission.command, LeaveRoom) and member is None:
        result.confirmed.append((user_id, MembershipChange(room.id, False, sequence)))


def _append(
    submission: Submission, index: int, event: ChatEvent, loaded: LoadedState, result: BatchDecision
) -> Recorded:
    command, identity, room_id = submission.command, submission.identity, submission.room_id
    before = loaded.rooms.get(room_id)
    sequence, messages = (before.head + 1, before.messages) if before else (1, 0)
    recorded = Recorded(
        room_id, sequence, messages + event.IS_MESSAGE, submission.event_id(index), event.TYPE, identity.user_id,
        identity.name, command.id, submission.fingerprint, CODEC.encode(event).data, loaded.now,
    )  # fmt: skip
    # Later commands of this batch are decided by the same counts of rooms and invitations, so each event keeps them
    # right: its user's membership is subtracted as it was, and added as it is afterwards.
    user_id = changed_member(event, identity.user_id)
    _uncount(loaded, before, user_id, archived=isinstance(event, RoomArchived))
    people = People.of(before) if event.CHANGES_DECISIONS else None
    if before is not None:
        result.forget(before, texts_dropped_by(before, event))
    room = evolve(before, event, room_id, sequence, NamedUser(identity.user_id, identity.name), loaded.now)
    _count(loaded, room, user_id, unarchived=isinstance(event, RoomUnarchived))
    if isinstance(event, MessageEvent):
        messages = loaded.messages.setdefault(room_id, RoomMessages())
        amend(messages, event, sequence, NamedUser(identity.user_id, identity.name), loaded.now)
        result.messages[room_id] = messages
    loaded.rooms[room_id] = room
    if event.IS_MESSAGE:
        loaded.posted[room_id, identity.user_id] = loaded.now
    if people is not None:
        result.note_people(people, room)
        loaded.restricted[room_id] = (
            loaded.restricted.get(room_id, 0) + len(room.restrictions) - len(people.restrictions)
        )
    result.appended.append(recorded)
    if isinstance(event, RoomCreated):
        result.created[room_id] = room
    elif room_id not in result.created:
        result.changed_rooms[room_id] = room
    if user_id is not None:
        result.members[room_id, user_id] = None
    if isinstance(event, MessageSent) and event.attachments:
        for one in event.attachments:
            # So that a later message of this batch does not find it any more.
            del loaded.uploads[identity.user_id][one.id]
            result.attached[one.id] = room_id, sequence
    return recorded


def _uncount(loaded: LoadedState, room: Room | None, user_id: str | None, *, archived: bool) -> None:
    """Subtract the membership that an event changes from the counts.

    An archived room takes all of its memberships with it.
    """
    if room is None:
        return
    for moved in room.members if archived else (user_id,):
        member = room.members.get(moved or "")
        if member is None:
            continue
        if member.joined and not room.archived and member.user_id in loaded.joined:
            loaded.joined[member.user_id] -= 1
        if member.invited_by is not None and (room.room_id, member.invited_by) in loaded.invitations:
            loaded.invitations[room.room_id, member.invited_by] -= not archived


def _count(loaded: LoadedState, room: Room, user_id: str | None, *, unarchived: bool) -> None:
    """Add the membership that an event made to the counts. A room that is open again brings all of its memberships."""
    for moved in room.members if unarchived else (user_id,):
        member = room.members.get(moved or "")
        if member is None:
            continue
        if member.joined and not room.archived and member.user_id in loaded.joined:
            loaded.joined[member.user_id] += 1
        if member.invited_by is not None and (room.room_id, member.invited_by) in loaded.invitations:
            loaded.invitations[room.room_id, member.invited_by] += not unarchived
