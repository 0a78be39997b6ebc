"""One room on this gateway, pure: its cursor, and its members in the states of `member_state`.

| input                            | what happens to a member                                                      |
|----------------------------------|-------------------------------------------------------------------------------|
| `register`, `let_in`             | registered; live                                                              |
| `join(after)`                    | live, catching up or waiting, as the room's head is at, after or before it    |
| `leave(at)`                      | gone now, or after that event                                                 |
| `before_event` and `after_event` | waiting ones go live before their first event, leaving ones go after the last |
| `sent`                           | who is catching up gets on, and goes live at the room's head                  |
| `reset`                          | live from the head of a log that was restored                                 |

`live` is kept in a dict of its own, since it is what a broadcast goes to: in the order of joining, which is the order
in which their sockets lie in memory, and six percent quicker than a set's. Only members of whom there is more to say
have a state as well: a room with one live member takes about 0.8 KB with its subscription, and a gateway has many.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from parley.common.nats.subscriptions import Listener
from parley.common.wire.rooms import RoomEvent
from parley.gateway.connections.connection import Connection
from parley.gateway.rooms import member_state
from parley.gateway.rooms.cursor import UNKNOWN, RoomCursor
from parley.gateway.rooms.member_state import LIVE, REGISTERED, CatchingUp, Live, MemberState, Registered

RECENT = 256
"""Delivered events that are kept while a connection is catching up, so that it can be spliced into a fast room."""
RECENT_BYTES = 1024 * 1024
"""Bytes of their payloads."""
NEVER = sys.maxsize


class LocalRoom:
    """One room on this gateway. What only a busy room needs is made when it is busy."""

    __slots__ = (
        "_catching_up", "_hear", "_members", "_next_change", "_recent", "_recent_bytes",
        "awaited", "closed", "cursor", "known", "listener", "live", "namespace", "repairing", "room", "watcher",
    )  # fmt: skip

    def __init__(self, namespace: str, room: str, head: int, hear: Callable[[LocalRoom, bytes], None]) -> None:
        self.namespace = namespace
        self.room = room
        self.cursor = RoomCursor(head)
        self.live: dict[Connection, None] = {}
        self.listener: Listener | None = None
        self.known = False
        """Whether NATS is known to have the subscription."""
        self.awaited = 0
        """Attempts that are about to enter it. It stays open for them."""
        self.repairing = False
        self.closed = False
        self.watcher: Callable[[Connection], object] | None = None
        """Called with a connection that may have come or gone, while somebody looks at who is there."""
        self._hear = hear
        self._members: dict[Connection, MemberState] | None = None
        """Members that are not live, or know of changes to come."""
        self._catching_up = 0
        self._next_change = NEVER
        """Before this event, no change is due for members that are sent what the room delivers."""
        self._recent: deque[RoomEvent] | None = None
        self._recent_bytes = 0

    def __call__(self, data: bytes) -> None:
        """Take a message of the room's subject.

        The room itself is the listener, which saves an object per subscription.
        """
        self._hear(self, data)

    def __contains__(self, connection: Connection) -> bool:
        return connection in self.live or (self._members is not None and connection in self._members)

    @property
    def members(self) -> list[Connection]:
        """Everybody who belongs to the room, live or not."""
        return [*self.live, *(member for member in self._members or () if member not in self.live)]

    @property
    def empty(self) -> bool:
        """Whether nobody belongs to the room or is about to."""
        return not self.live and not self._members and not self.awaited

    @property
    def has_log(self) -> bool:
        """Whether its events can be read again."""
        return self.cursor.head != UNKNOWN

    @property
    def is_user_room(self) -> bool:
        """Whether this is a user's own room, which receives hints of joins and leaves.

        What is not logged there is for every connection of the user, also for one that is still catching up.
        """
        return self.room.startswith("user:")

    @property
    def partly_live(self) -> bool:
        """Whether there may be members that are not live."""
        return self._members is not None

    @property
    def let_in_members(self) -> list[Connection]:
        """Everybody who may hear something: all members but those that are only registered."""
        return [member for member in self.members if not isinstance(self.state(member), Registered)]

    @property
    def keeps_recent(self) -> bool:
        """Whether anybody is catching up."""
        return self._recent is not None

    @property
    def recent(self) -> Sequence[RoomEvent]:
        """What was delivered lately, while anybody is catching up."""
        return self._recent or ()

    def state(self, connection: Connection) -> MemberState | None:
        """Return a member's state; None for a connection that is no member."""
        found = None if self._members is None else self._members.get(connection)
        return LIVE if found is None and connection in self.live else found

    def delivered_up_to(self, connection: Connection) -> int:
        """Return the last event that a member was sent, or that was not for it."""
        return member_state.delivered_up_to(self.state(connection) or REGISTERED, self.cursor.head)

    # -- joining and leaving ---------------------------------------------------------------------------------------

    def register(self, connection: Connection) -> None:
        """Take in a connection that is not let in yet, or that may not hear anything more."""
        self._put(connection, REGISTERED)

    def let_in(self, connection: Connection) -> None:
        """Make a member live."""
        self._put(connection, LIVE)

    def join(self, connection: Connection, after: int, sent: int = 0) -> bool:
        """Take in a connection after the event `after`; up to `sent` it has everything.

        Returns whether it has to catch up.
        """
        state = member_state.join(self.state(connection), after, self.cursor.head, sent)
        self._put(connection, state)
        return isinstance(state, CatchingUp)

    def stays(self, connection: Connection, head: int) -> bool:
        """Return whether a connection is a member after the event `head`, as far as is known."""
        return member_state.stays(self.state(connection), head)

    def leave(self, connection: Connection, at: int, *, supposed: bool = False) -> bool:
        """Let a member go after the event `at`, or at once if that is 0. Returns whether it is gone now."""
        if not at:
            return self._put(connection, None)
        return self._put(
            connection, member_state.leave(self.state(connection), at, self.cursor.head, supposed=supposed)
        )

    def remove(self, connection: Connection) -> None:
        """Forget a member at once."""
        self._put(connection, None)

    # -- what the room delivers to those who are live --------------------------------------------------------------

    def changes_nothing(self, events: Iterable[RoomEvent]) -> bool:
        """Return whether all live members receive all of these events and stay live."""
        next_change = self._next_change
        for event in events:
            if (
                event.joined_user
                or event.left_user
                or event.except_sid
                or event.volatile
                or event.sequence >= next_change
            ):
                return False
        return True

    def keep_recent(self, events: Iterable[RoomEvent]) -> None:
        """Keep events that are being delivered, if anybody is catching up."""
        recent = self._recent
        if recent is None:
            return
        for event in events:
            if event.sequence:
                recent.append(event)
                self._recent_bytes += len(event.payload)
        while len(recent) > RECENT or (recent and self._recent_bytes > RECENT_BYTES):
            self._recent_bytes -= len(recent.popleft().payload)

    def before_event(self, event: RoomEvent, joining: Iterable[Connection] = ()) -> None:
        """Let in those for whom this is the first event.

        `joining` are the connections of the user who joins with it.
        """
        for connection in joining:
            self._put(connection, member_state.before_event(self.state(connection), event.sequence, joins=True))
        # Nearly always nobody waits for this event, so the members are not searched.
        if event.sequence >= self._next_change:
            for connection, state in list((self._members or {}).items()):
                self._put(connection, member_state.before_event(state, event.sequence, joins=False))

    def after_event(self, event: RoomEvent, leaving: Iterable[Connection] = ()) -> list[Connection]:
        """Let go of those for whom this was the last event. Returns who is gone.

        `leaving` are the connections of the user who leaves with it.
        """
        gone: list[Connection] = []
        for connection in leaving:
            state = self.state(connection)
            # By the event itself, whatever hints have said.
            if state is not None and self._put(
                connection, member_state.after_event(state, event.sequence, leaves=True)
            ):
                gone.append(connection)
        if event.sequence >= self._next_change:
            for connection, state in list((self._members or {}).items()):
                if self._put(connection, member_state.after_event(state, event.sequence, leaves=False)):
                    gone.append(connection)
            # `_put` can only lower it, so it is raised here, past the changes that are done.
            changes = map(member_state.due, (self._members or {}).values())
            self._next_change = min((change for change in changes if change is not None), default=NEVER)
        return gone

    def reset(self, head: int) -> list[Connection]:
        """Begin anew at `head`, where a restored log ends: everybody is live from there on. Returns them."""
        self.cursor.reset(head)
        members = self.let_in_members
        for connection in members:
            self.let_in(connection)
        return members

    # -- what a member is sent by itself ---------------------------------------------------------------------------

    def catching_up(self, connection: Connection) -> CatchingUp | None:
        """Return how far a member has caught up; None if it is not catching up."""
        state = self.state(connection)
        return state if isinstance(state, CatchingUp) else None

    def sent(self, connection: Connection, event: RoomEvent) -> bool:
        """Note that a member that is catching up was sent an event.

        Returns whether it is gone, because that was its last.
        """
        state, user_id = self.catching_up(connection), connection.identity.user_id
        if state is None:
            return False
        # An event that moves nobody names the empty user, which must match nobody.
        joins, leaves = event.joined_user == user_id != "", event.left_user == user_id != ""
        reached = member_state.sent(state, event.sequence, self.cursor.head, joins=joins, leaves=leaves)
        return self._put(connection, reached)

    # -- where the states are kept ---------------------------------------------------------------------------------

    def _put(self, connection: Connection, state: MemberState | None) -> bool:
        """Keep a member's new state. Returns whether it is gone."""
        members = self._members
        before = None if members is None else members.get(connection)
        # `live` first: a broadcast goes to it, so it also has members whose state is in the other dict.
        if isinstance(state, Live):
            self.live[connection] = None
        elif before is None or isinstance(before, Live):
            self.live.pop(connection, None)
        # A live member without changes to come has no entry. That is nearly everybody.
        if state is None or state == LIVE:
            if members is not None and before is not None:
                del members[connection]
                self._members = members or None
        elif state is not before:
            if members is None:
                members = self._members = {}
            members[connection] = state
            if (due := member_state.due(state)) is not None:
                self._next_change = min(self._next_change, due)
        self._count(before, state)
        if self.watcher is not None:
            self.watcher(connection)
        return state is None

    def _count(self, before: MemberState | None, state: MemberState | None) -> None:
        """Keep recent events as long as anybody is catching up."""
        self._catching_up += isinstance(state, CatchingUp) - isinstance(before, CatchingUp)
        if not self._catching_up:
            self._recent = None
        elif self._recent is None:
            self._recent, self._recent_bytes = deque(), 0
