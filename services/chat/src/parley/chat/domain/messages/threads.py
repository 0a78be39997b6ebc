"""Threads: who follows which. A thread is the replies to one message; following it is what decides who is told of them.

Whoever replies in a thread follows it, and so do the author of its first message and everybody whom a reply mentions,
unless they stopped before. Each of these is an event of its own, so nobody has to work out who follows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, ClassVar

import msgspec

from parley.chat.domain.events import EventData, NamedUser, WhenErased, about_user
from parley.chat.domain.fields import ClientCommand, RoomId
from parley.chat.domain.messages.targets import messages_of, require_root
from parley.chat.domain.state import DecisionContext, Room, require_member, require_open


class FollowThread(ClientCommand, frozen=True):
    """`thread.follow`: be told of replies in the thread of a message."""

    NAME: ClassVar[str] = "thread.follow"
    CHANGES_DECISIONS: ClassVar[bool] = False

    room: RoomId
    thread: Annotated[int, msgspec.Meta(ge=1, lt=2**53)]


class UnfollowThread(FollowThread, frozen=True):
    """`thread.unfollow`: not be told any more, until one replies there again."""

    NAME: ClassVar[str] = "thread.unfollow"


class ThreadFollowed(EventData, frozen=True):
    """A user follows a thread from here on. The event has the user's id alone."""

    TYPE: ClassVar[str] = "thread.followed"
    NUMBER: ClassVar[int] = 26
    CHANGES_DECISIONS: ClassVar[bool] = False
    WHEN_ERASED: ClassVar[WhenErased] = about_user("thread")

    thread: int
    user: NamedUser


class ThreadUnfollowed(EventData, frozen=True):
    """A user follows a thread no longer."""

    TYPE: ClassVar[str] = "thread.unfollowed"
    NUMBER: ClassVar[int] = 27
    CHANGES_DECISIONS: ClassVar[bool] = False
    WHEN_ERASED: ClassVar[WhenErased] = about_user("thread")

    thread: int
    user: NamedUser


def decide_follow(
    command: FollowThread, room: Room | None, context: DecisionContext
) -> Sequence[ThreadFollowed | ThreadUnfollowed]:
    """Follow or not, as the command says; no event if it is so already. Raises `Reject`."""
    user_id = context.identity.user_id
    require_member(require_open(room, user_id), user_id)
    require_root(context, command.thread)
    follows = messages_of(context).follows(command.thread, user_id)
    if follows != isinstance(command, UnfollowThread):
        return []
    kind = ThreadUnfollowed if follows else ThreadFollowed
    return [kind(command.thread, NamedUser(user_id))]


def followers_of_reply(
    thread: int, mentions: Iterable[str], room: Room, context: DecisionContext
) -> list[ThreadFollowed]:
    """Return the events of those who follow a thread because of a reply, and did not before."""
    known = messages_of(context)
    sender = context.identity.user_id
    # The others only if they never followed and never stopped, and are there to be told.
    others = [
        user_id
        for user_id in dict.fromkeys((known.targets[thread].author, *mentions))
        if user_id != sender and (thread, user_id) not in known.following and room.is_in(user_id)
    ]
    found = others if known.follows(thread, sender) else [sender, *others]
    return [ThreadFollowed(thread, NamedUser(user_id)) for user_id in found]
