"""Commands decided from what is known of their rooms, pure: their events get sequences when they are appended.

These are commands that change nothing which decisions read, as messages do. So only other commands can make what is
known of a room wrong, and many processes append to one room without asking each other.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from parley.chat.domain.batch import Accepted, BatchDecision, Submission
from parley.chat.domain.encoding.event_codec import CODEC, StoredEvent
from parley.chat.domain.encoding.recorded import Recorded
from parley.chat.domain.room import Event, decide
from parley.chat.domain.state import DecisionContext, Room
from parley.common.errors import Reject

FindRoom = Callable[[int, str], Room | None]
"""The room, if it is known, with the place of this user in it."""


@dataclass(slots=True)
class Draft:
    """An event that was decided, but for its place in the room. `place` is that of its command in the batch.

    `ordinal` counts the room's events of this batch and `number` its messages, up to and including this one.
    """

    place: int
    submission: Submission
    event_id: UUID
    event: Event
    stored: StoredEvent
    ordinal: int = 0
    number: int = 0


@dataclass(slots=True)
class Drafts:
    """Events to append at once, by room; and the places in the batch of the commands that need the rooms' locks."""

    rooms: dict[int, tuple[Room, list[Draft]]] = field(default_factory=dict[int, tuple[Room, list[Draft]]])
    rest: list[int] = field(default_factory=list[int])

    def count(self) -> None:
        """Give each event its place behind the room's head, whatever that will be."""
        for _, drafts in self.rooms.values():
            number = 0
            for ordinal, draft in enumerate(drafts, 1):
                number += draft.event.IS_MESSAGE
                draft.ordinal, draft.number = ordinal, number

    def leave_to_rest(self, rooms: Collection[int]) -> None:
        """Leave rooms that were not appended to."""
        for room_id in rooms:
            _, drafts = self.rooms.pop(room_id)
            self.rest.extend({draft.place: None for draft in drafts})

    def leave_resent(self, keys: Collection[UUID]) -> None:
        """Leave commands that turned out to have been appended before, and only these.

        What their senders sent after them stays: it overtakes nothing that is still to happen.
        """
        for room_id, (room, drafts) in list(self.rooms.items()):
            resent = [draft for draft in drafts if draft.submission.key in keys]
            if resent:
                self.rest.extend({draft.place: None for draft in resent})
                self.rooms[room_id] = room, [draft for draft in drafts if draft.submission.key not in keys]
                if not self.rooms[room_id][1]:
                    del self.rooms[room_id]
        self.count()


def candidates(submissions: list[Submission]) -> list[bool]:
    """Which commands may be appended apart from the rest, without changing the order of any actor's.

    Those of an actor whose commands here all change nothing that decisions read, and are all for one room.
    """
    rooms: dict[str, int | None] = {}
    for submission in submissions:
        user_id, room_id = submission.identity.user_id, submission.room_id
        if submission.command.CHANGES_DECISIONS or rooms.setdefault(user_id, room_id) != room_id:
            rooms[user_id] = None
    return [rooms[submission.identity.user_id] is not None for submission in submissions]


def draft(submissions: list[Submission], eligible: list[bool], find: FindRoom) -> Drafts:
    """Decide by what is known. Whatever is no plain yes is left to those who hold the locks."""
    result = Drafts()
    behind: set[str] = set()
    seen: set[UUID] = set()
    for place, submission in enumerate(submissions):
        user_id = submission.identity.user_id
        # Of a resend within the batch only the first is drafted; the other finds its result later, and so do those
        # that its sender sent after it.
        if eligible[place] and user_id not in behind and submission.key not in seen:
            seen.add(submission.key)
            room = find(submission.room_id, user_id)
            if room is not None and (events := _decide(submission, room)):
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


def _decide(submission: Submission, room: Room) -> list[Event]:
    """The events of a command that what is known allows; none where it does not, which is no answer to its sender."""
    try:
        return decide(submission.command, room, DecisionContext(submission.identity))
    except Reject:
        return []


def settle(drafts: Drafts, heads: dict[int, tuple[int, int]], now: datetime) -> tuple[BatchDecision, list[int]]:
    """What was appended behind these heads and message numbers, in the batch's order, and the places in it."""
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
    made.sort(key=lambda entry: entry[0])
    plan, places = BatchDecision(), list[int]()
    for place, recorded in made:
        plan.appended.append(recorded)
        if not places or places[-1] != place:
            places.append(place)
            plan.outcomes.append(Accepted(None, recorded, recorded.sequence))
    return plan, places
