"""Decides commands without a lock, from what is known of their rooms, pure. Called by the writer for each batch.

Only commands that change nothing that decisions read are decided here, as messages are. So what a writer knows of a
room can only be made wrong by other commands, and many processes append to one room without asking each other. The
events get their sequences when Postgres appends them: a draft only says how far behind the room's head it stands.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from parley.chat.domain.batch_state import Accepted, BatchDecision, Submission
from parley.chat.domain.encoding.event_codec import CODEC, StoredEvent
from parley.chat.domain.encoding.recorded import Recorded
from parley.chat.domain.room import ChatEvent, decide
from parley.chat.domain.state import DecisionContext, Room
from parley.common.errors import Reject

FindRoom = Callable[[int, str], Room | None]
"""Returns a room with the membership of one user in it, if both are known."""


@dataclass(slots=True)
class Draft:
    """An event that is decided, except for its sequence. `place` is the index of its command in the batch.

    `ordinal` counts the room's events of this batch and `number` its messages, both up to and including this one.
    """

    place: int
    submission: Submission
    event_id: UUID
    event: ChatEvent
    stored: StoredEvent
    ordinal: int = 0
    number: int = 0


@dataclass(slots=True)
class Drafts:
    """Events to append at once, by room.

    `rest` has the indexes in the batch of the commands that need their rooms' locks. Those of `unknown` are among them
    because nothing is known of their room and user; with that, they might be decided without a lock.
    """

    rooms: dict[int, tuple[Room, list[Draft]]] = field(default_factory=dict[int, tuple[Room, list[Draft]]])
    rest: list[int] = field(default_factory=list[int])
    unknown: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])

    def count(self) -> None:
        """Number each room's events, and its messages, from 1. Postgres adds the room's head to these numbers."""
        for _, drafts in self.rooms.values():
            number = 0
            for ordinal, draft in enumerate(drafts, 1):
                number += draft.event.IS_MESSAGE
                draft.ordinal, draft.number = ordinal, number

    def leave_to_rest(self, rooms: Collection[int]) -> None:
        """Hand the commands of these rooms over to the rest, because nothing was appended to them."""
        for room_id in rooms:
            _, drafts = self.rooms.pop(room_id)
            self.rest.extend({draft.place: None for draft in drafts})

    def leave_resent(self, keys: Collection[UUID]) -> None:
        """Hand commands over to the rest that turned out to have been appended before, and only these.

        What their senders sent after them stays: it overtakes nothing, since the earlier command has already happened.
        """
        for room_id, (room, drafts) in list(self.rooms.items()):
            resent = [draft for draft in drafts if draft.submission.key in keys]
            if resent:
                self.rest.extend({draft.place: None for draft in resent})
                self.rooms[room_id] = room, [draft for draft in drafts if draft.submission.key not in keys]
                if not self.rooms[room_id][1]:
                    del self.rooms[room_id]
        # The numbers have gaps now, which Postgres would turn into gaps of the log.
        self.count()


def candidates(submissions: list[Submission]) -> list[bool]:
    """Return for each command whether it may be appended before the rest and keep the order of its sender's commands.

    It may if all commands of that sender in this batch change nothing that decisions read, and are for one room.
    """
    rooms: dict[str, int | None] = {}
    for submission in submissions:
        user_id, room_id = submission.identity.user_id, submission.room_id
        if submission.command.CHANGES_DECISIONS or rooms.setdefault(user_id, room_id) != room_id:
            rooms[user_id] = None
    return [rooms[submission.identity.user_id] is not None for submission in submissions]


def draft(submissions: list[Submission], eligible: list[bool], find: FindRoom) -> Drafts:
    """Decide the eligible commands by what is known.

    Whatever is not plainly allowed is left to the rest, for the locks.
    """
    result = Drafts()
    behind: set[str] = set()
    seen: set[UUID] = set()
    # Once a command of a user is left to the rest, so are all later ones of theirs: they must not overtake it.
    for place, submission in enumerate(submissions):
        user_id = submission.identity.user_id
        # Of two sends of the same command in one batch only the first is drafted. The second one finds its result
        # later, and so must everything that its sender sent after it.
        # Another message is never known without a lock, so a command about one is not even tried.
        plain = eligible[place] and not submission.needs.messages
        if plain and user_id not in behind and submission.key not in seen:
            seen.add(submission.key)
            if (room := find(submission.room_id, user_id)) is None:
                result.unknown.append((submission.room_id, user_id))
            elif events := _decide(submission, room):
                if submission.room_id not in result.rooms:
                    result.rooms[submission.room_id] = room, []
                drafts = result.rooms[submission.room_id][1]
                for index, event in enumerate(events):
                    key = submission.event_id(index)
                    drafts.append(Draft(place, submission, key, event, CODEC.encode(event)))
                continue
        behind.add(user_id)
        result.rest.append(place)
    result.count()
    return result


def _decide(submission: Submission, room: Room) -> list[ChatEvent]:
    """Return the events of a command if what is known allows it, else none.

    A refusal here is not yet an answer to the sender.
    """
    try:
        context = DecisionContext(submission.identity, locked=False, screened=submission.screened)
        return decide(submission.command, room, context)
    except Reject:
        # What is known may be outdated, so a refusal is decided once more under the locks, which have the last word.
        return []


def decision_of(drafts: Drafts, heads: dict[int, tuple[int, int]], now: datetime) -> tuple[BatchDecision, list[int]]:
    """Return what was appended, in the batch's order, and the indexes of these commands in the batch.

    `heads` has, by room, the head and the number of messages behind which Postgres appended.
    """
    made: list[tuple[int, Recorded]] = []
    for room_id, (_, waiting) in drafts.rooms.items():
        head, messages = heads[room_id]
        for one in waiting:
            identity, command = one.submission.identity, one.submission.command
            recorded = Recorded(
                room_id, head + one.ordinal, messages + one.number, one.event_id, one.event.TYPE, identity.user_id,
                identity.name, command.id, one.submission.fingerprint, one.stored.data, now,
            )  # fmt: skip
            made.append((one.place, recorded))
    # By room until here; the answers are given in the order of the batch.
    made.sort(key=lambda entry: entry[0])
    decision, places = BatchDecision(), list[int]()
    for place, recorded in made:
        decision.appended.append(recorded)
        if not places or places[-1] != place:
            places.append(place)
            decision.outcomes.append(Accepted(None, recorded, recorded.sequence))
    return decision, places
