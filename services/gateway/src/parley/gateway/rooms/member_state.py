"""Where one member of a room is, pure: what it has been sent, and which changes to come are known.

A member is *live* (it is sent what the room delivers), *catching up* (it is sent by itself what it missed) or *waiting*
for the event with which it joins. It may know of joins and leaves to come, in the order of their sequences. A leave may
be only *supposed*: the service does not name the room any more, and no event has told why. *Registered* is a connection
in its user's own room that is not let in yet, or not any more. `head` is the last event that the room has delivered.

| state          | join with n         | leave after n     | the room delivers n        | it is sent n itself        |
|----------------|---------------------|-------------------|----------------------------|----------------------------|
| no member      | n = head + 1: live  | no member         | n joins it: live, before n |                            |
|                | n <= head: catching |                   |                            |                            |
|                | n > head + 1: waits |                   |                            |                            |
| live           | n > head: noted     | n <= head: out    | n leaves it, or a noted    |                            |
|                |                     | n > head: noted   | leave is due: out, after n |                            |
| catching up,   | n > a: noted        | n <= a: out       | n joins or leaves it:      | it has n; a leave: out;    |
| has all to a   |                     | n > a: noted      | noted                      | n = head: live             |
| waiting for j, | noted               | n <= head: out    | n >= j or n > s joins it:  |                            |
| has all to s   |                     | n > j: noted      | live, before n             |                            |
| registered     | as no member        | no member         |                            |                            |

A member that is *out* is none any more, unless a later join is known: then it catches up from there, or waits for it. A
join with n makes every member forget a leave at n or later that was only supposed.
"""

from __future__ import annotations

from typing import NamedTuple

MAX_CHANGES = 32
"""Changes to come that are kept of one member. Only hints that run far ahead of the room's events need so many."""


class ScheduledChange(NamedTuple):
    """A join that takes effect before an event, or a leave that takes effect after it."""

    sequence: int
    joined: bool
    supposed: bool = False


Changes = tuple[ScheduledChange, ...]


class Live(NamedTuple):
    """The member is sent what the room delivers."""

    changes: Changes = ()


class CatchingUp(NamedTuple):
    """The member has everything up to `after`, and is sent what follows from the log.

    Up to `sent` it was sent everything in an earlier stay: the changes in these events apply, but they are not sent
    again.
    """

    after: int
    changes: Changes = ()
    sent: int = 0


class WaitingToJoin(NamedTuple):
    """The member hears nothing before the first of its changes, which is a join.

    Up to `sent` it has everything from elsewhere, because it came back while this gateway was behind.
    """

    changes: Changes
    sent: int = 0


class Registered(NamedTuple):
    """The member hears nothing until it is let in."""


MemberState = Live | CatchingUp | WaitingToJoin | Registered
LIVE, REGISTERED = Live(), Registered()


def delivered_up_to(state: MemberState, head: int) -> int:
    """Return the last event that a member was sent, or that was not for it."""
    match state:
        case CatchingUp(after=after, sent=sent):
            return max(after, sent)
        case WaitingToJoin(changes=changes, sent=sent):
            return max(changes[0].sequence - 1, sent)
        case Live() | Registered():
            return head


def join(state: MemberState | None, after: int, head: int, sent: int = 0) -> MemberState:
    """Return the state of a member that joins after the event `after`. Up to `sent` it has everything already."""
    match state:
        case None | Registered():
            return _entered(after, (), head, sent)
        case Live(changes=changes):
            # It has everything up to the head, so an earlier join is nothing new. A later one may follow a noted leave.
            return Live(_noted(changes, ScheduledChange(after + 1, joined=True), head))
        case CatchingUp(after=place, changes=changes):
            return state._replace(changes=_noted(changes, ScheduledChange(after + 1, joined=True), place))
        case WaitingToJoin(changes=changes, sent=had):
            # A join before something that it already has belongs to its earlier stay.
            return state._replace(changes=_noted(changes, ScheduledChange(after + 1, joined=True), max(head, had)))


def stays(state: MemberState | None, head: int) -> bool:
    """Return whether somebody is a member after the event `head`, as far as is known.

    Such a member neither leaves nor still has to join.
    """
    match state:
        case None:
            return False
        case Registered():
            return True
        case WaitingToJoin(changes=changes) if changes[0].sequence >= head:
            return False
        case Live(changes=changes) | CatchingUp(changes=changes) | WaitingToJoin(changes=changes):
            return not changes or changes[-1].joined


def leave(state: MemberState | None, at: int, head: int, *, supposed: bool = False) -> MemberState | None:
    """Return the state of a member that leaves after the event `at`."""
    change = ScheduledChange(at, joined=False, supposed=supposed)
    match state:
        case None | Registered():
            return None
        case Live(changes=changes):
            return _out(changes, at, head) if at <= head else Live(_noted(changes, change, head))
        case CatchingUp(after=after, changes=changes):
            if at <= after:
                return _out(changes, at, head, state.sent)
            return state._replace(changes=_noted(changes, change, after))
        case WaitingToJoin(changes=changes):
            # A waiting member is out already until its first join.
            return state if at <= changes[0].sequence else state._replace(changes=_noted(changes, change, head))


def before_event(state: MemberState | None, sequence: int, *, joins: bool) -> MemberState | None:
    """Return a member's state right before the room delivers an event, with which the member may join."""
    match state:
        case None if joins:
            return LIVE
        case WaitingToJoin(sent=sent) if sequence <= sent:
            return state
        case WaitingToJoin(changes=changes) if joins or changes[0].sequence <= sequence:
            # The event itself overrules what hints said of it and of those before it.
            return Live(_after_join(changes, sequence) if joins else _beyond(changes, sequence))
        case Live(changes=changes) if joins:
            return Live(_after_join(changes, sequence))
        case CatchingUp(after=after, changes=changes) if joins:
            # The room is ahead of this member. It reaches the event in the log later, and must know then that it joins.
            return state._replace(changes=_noted(changes, ScheduledChange(sequence, joined=True), after))
        case _:
            return state


def after_event(state: MemberState | None, sequence: int, *, leaves: bool) -> MemberState | None:
    """Return a member's state right after the room has delivered an event, with which the member may leave."""
    match state:
        case Live(changes=changes):
            return _passed(state, changes, sequence, sequence, leaves=leaves)
        case CatchingUp(after=after, changes=changes) if leaves:
            return state._replace(changes=_noted(changes, ScheduledChange(sequence, joined=False), after))
        case _:
            return state


def sent(state: CatchingUp, sequence: int, head: int, *, joins: bool, leaves: bool) -> MemberState | None:
    """Return the state of a member that is catching up and was sent an event, with which it may join or leave."""
    changes = _after_join(state.changes, sequence) if joins else state.changes
    # A leave that is due takes it out before "at the head" could make it live.
    reached = _passed(state._replace(after=sequence), changes, sequence, head, leaves=leaves)
    return Live(reached.changes) if isinstance(reached, CatchingUp) and reached.after >= head else reached


def due(state: MemberState) -> int | None:
    """Return the event before or after which something changes for a member that is sent what the room delivers."""
    match state:
        case Live(changes=(change, *_)) | WaitingToJoin(changes=(change, *_)):
            return change.sequence
        case _:
            return None


def _entered(after: int, changes: Changes, head: int, sent: int = 0) -> MemberState:
    if after == head:
        return Live(changes)
    if after < head:
        # `sent` beyond `after`: it was here before, and the log is read again only for the changes in between.
        return CatchingUp(after, changes, sent if sent > after else 0)
    return WaitingToJoin((ScheduledChange(after + 1, joined=True), *changes), sent)


def _out(changes: Changes, sequence: int, head: int, sent: int = 0) -> MemberState | None:
    """Return the state of a member that leaves after an event: none, unless it is known to join later."""
    changes = _beyond(changes, sequence)
    if changes and changes[0].joined:
        return _entered(changes[0].sequence - 1, changes[1:], head, sent)
    return None


def _passed(
    state: Live | CatchingUp, changes: Changes, sequence: int, head: int, *, leaves: bool
) -> MemberState | None:
    """Apply the changes that are due with an event that a member was sent. The event itself overrules hints."""
    passed = [change for change in changes if change.sequence <= sequence]
    rest = changes[len(passed) :]
    match state:
        case _ if leaves or (passed and not passed[-1].joined):
            return _out(rest, sequence, head, state.sent if isinstance(state, CatchingUp) else 0)
        case Live():
            return Live(rest)
        case CatchingUp():
            return state._replace(changes=rest)


def _noted(changes: Changes, change: ScheduledChange, place: int) -> Changes:
    """Return the changes with another one, unless the member is past it."""
    if change.joined:
        changes = tuple(known for known in changes if not (known.supposed and known.sequence >= change.sequence))
    if change.sequence <= place or change in changes:
        return changes
    changes = tuple(sorted((*changes, change)))
    # The last change says whether it is a member in the end, so that one is always kept.
    return (*changes[: MAX_CHANGES - 1], *changes[-1:]) if len(changes) > MAX_CHANGES else changes


def _beyond(changes: Changes, sequence: int) -> Changes:
    """Return the changes that are still to come after an event."""
    return tuple(change for change in changes if change.sequence > sequence)


def _after_join(changes: Changes, sequence: int) -> Changes:
    """Return the changes that are still to come for a member that, by the log, joins with an event."""
    return tuple(change for change in changes if change.sequence > sequence and not change.supposed)
