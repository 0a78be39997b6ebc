"""What is known of a room's messages besides their texts: what became of them, and who follows which thread. Pure data.

A message that nobody replied to in a thread, edited, deleted, pinned or reacted to has no state, and no row anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple


@dataclass(slots=True)
class MessageState:
    """What later events made of a message.

    `edited_in`, `deleted_in` and `pinned_in` are the sequences of the events that it is so by. `reactions` counts them
    by emoji. `replies` counts the replies of its thread, those that were deleted since as well.
    """

    version: int = 1
    edited_in: int | None = None
    edited_at: datetime | None = None
    deleted_in: int | None = None
    reactions: dict[str, int] = field(default_factory=dict[str, int])
    replies: int = 0
    last_reply: int | None = None
    last_reply_at: datetime | None = None
    pinned_in: int | None = None


UNTOUCHED = MessageState()
"""The state of a message that nothing happened to. Never changed; it is compared with."""


class Target(NamedTuple):
    """A message that a command is about: who wrote it, and the root of the thread that it is a reply in, if it is one.

    `erased` says that its text is gone, whoever removed it. Of an erased message the author may be ''.
    """

    author: str
    thread: int | None = None
    erased: bool = False


class Reaction(NamedTuple):
    """A reaction that stands: the sequence of its event, and the name that its user had then."""

    added_in: int
    name: str


class Following(NamedTuple):
    """Whether a user follows a thread, and the sequence of the event by which it is so."""

    following: bool
    since: int


@dataclass(slots=True)
class Touched:
    """What of a room's messages changed since it was loaded, for whoever stores it."""

    messages: dict[int, None] = field(default_factory=dict[int, None])
    reactions: dict[tuple[int, str, str], None] = field(default_factory=dict[tuple[int, str, str], None])
    replies: dict[tuple[int, int], None] = field(default_factory=dict[tuple[int, int], None])
    following: dict[tuple[int, str], None] = field(default_factory=dict[tuple[int, str], None])
    deleted: dict[int, int | None] = field(default_factory=dict[int, int | None])
    """Deleted messages, with the sequence of the last edit of each. All reactions to them go, and all of these texts.
    """


@dataclass(slots=True)
class RoomMessages:
    """The messages of one room, as far as they were loaded or folded.

    - `targets`: messages that commands are about; only what was loaded, or appended since;
    - `states`: by sequence, the messages that something happened to;
    - `reactions`: by message, and there by `(user, emoji)`;
    - `replies`: `(thread, sequence)` of every reply in a thread;
    - `following`: by `(thread, user)`, whether the user follows the thread. Who never did and never stopped is absent;
    - `pins`: how many messages are pinned, if the decision needs it.
    """

    targets: dict[int, Target] = field(default_factory=dict[int, Target])
    states: dict[int, MessageState] = field(default_factory=dict[int, MessageState])
    reactions: dict[int, dict[tuple[str, str], Reaction]] = field(
        default_factory=dict[int, dict[tuple[str, str], Reaction]]
    )
    replies: dict[tuple[int, int], None] = field(default_factory=dict[tuple[int, int], None])
    following: dict[tuple[int, str], Following] = field(default_factory=dict[tuple[int, str], Following])
    pins: int = 0
    touched: Touched = field(default_factory=Touched)

    def state_of(self, message: int) -> MessageState:
        """Return what is known to have become of a message."""
        return self.states.get(message, UNTOUCHED)

    def reaction(self, message: int, user_id: str, emoji: str) -> Reaction | None:
        """Return a user's reaction to a message, if it stands."""
        return self.reactions.get(message, {}).get((user_id, emoji))

    def follows(self, thread: int, user_id: str) -> bool:
        """Return whether a user is known to follow a thread."""
        found = self.following.get((thread, user_id))
        return found is not None and found.following
