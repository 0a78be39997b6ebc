"""Asking a bot by a slash command, and its answer.

The bot and the user are told over their connections. That may be lost; what stands is in the rows. A user who asks
again under the same `id` is answered what became of it, and a bot that connects lists what waits for it. `run` is one
task.
"""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec

from parley.chat.domain.encoding.room_ids import public_room_id
from parley.chat.domain.events import Instant, NamedUser
from parley.chat.domain.fields import CommandId, MessageData, RoomId, UserId
from parley.chat.domain.messages import SendMessage
from parley.chat.domain.permissions import Permission, require_may
from parley.chat.domain.state import DecisionContext, Room, require_open
from parley.chat.log.database import DATABASE_ERRORS, Pool, reachable
from parley.chat.log.writer import Writer
from parley.chat.queries.visibility import key_of
from parley.chat.slash import invocation_rows as rows
from parley.chat.slash import offered
from parley.chat.slash.command_options import CommandName, check_said, fit
from parley.common.process.outage_log import OutageLog
from parley.common.rate_limiter import RateLimiter
from parley.common.wire import subjects
from parley.common.wire.identifiers import uuid7
from parley.common.wire.text import check_line, checked_text
from parley.framework import Bus, Code, Delivery, Identity, Reject, RoomEvent, RoomPublisher, get_logger

log = get_logger(__name__)
outages = OutageLog(log, "cannot tell users of commands that were not answered")

ASKS_PER_SECOND, ASKS_BURST = 1.0, 10
"""How often a user may ask bots."""
INTERVAL = 0.5
"""Seconds between two looks for what was not answered in time."""
AT_ONCE = 100
TIDY_SECONDS = 3600.0
MAX_LISTED = 100
"""Invocations in one answer to a bot."""


class InvokeCommand(msgspec.Struct, frozen=True):
    """`command.invoke`: ask a bot in a room by one of its commands; `bot` says whose, if several have one so named.

    Asked again under the same `id`, it is answered what became of it.
    """

    id: CommandId
    room: RoomId
    name: CommandName
    options: MessageData = {}
    bot: UserId | None = None


class CommandOutcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a user asked of a bot, and what became of it, for that user.

    An answer to them alone is the `body`; any other is the message at `sequence`. The bot has until `expires_at`.
    """

    invocation: UUID
    id: str
    room: str
    name: str
    bot: NamedUser
    state: Literal["waiting", "answered", "expired"]
    expires_at: Instant
    deferred: bool = False
    only_you: bool = False
    body: str = ""
    sequence: int | None = None


class AskedOfBot(msgspec.Struct, frozen=True):
    """What a user asks of a bot, for the bot, which answers by `invocation` until `expires_at`."""

    invocation: UUID
    room: str
    name: str
    options: MessageData
    user: NamedUser
    at: Instant
    expires_at: Instant
    deferred: bool


class ListInvocations(msgspec.Struct, frozen=True):
    """`invocations`: what waits for the bot that asks, the oldest first."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_LISTED)] = MAX_LISTED


class WaitingInvocations(msgspec.Struct, frozen=True):
    """What waits for a bot."""

    invocations: list[AskedOfBot]


class DeferReply(msgspec.Struct, frozen=True):
    """`command.defer`: the bot will answer, within 15 minutes since it was asked."""

    invocation: UUID


class ReplyToCommand(msgspec.Struct, frozen=True):
    """`command.reply`: the bot's answer, as its message in the room, or with `only_you` to the user alone."""

    invocation: UUID
    body: Annotated[str, msgspec.Meta(min_length=1, max_length=80 * 1024)]
    only_you: bool = False


class Invocations:
    """What is asked of bots, and answered."""

    def __init__(self, pool: Pool, writer: Writer, bus: Bus, rooms: RoomPublisher, max_body: int) -> None:
        self.rates = RateLimiter(ASKS_PER_SECOND, ASKS_BURST)
        """By user. The service sweeps it."""
        self._pool = pool
        self._writer = writer
        self._bus = bus
        self._rooms = rooms
        self._max_body = max_body

    async def invoke(self, identity: Identity, asked: InvokeCommand) -> CommandOutcome:
        """Ask a bot. Whether the user may write in the room decides whether they may ask. Raises `Reject`."""
        said = check_said(asked.options)
        check_line(asked.bot or "")
        key = key_of(asked.room)
        with reachable():
            known = await rows.earlier(self._pool, identity.user_id, asked.id)
            # Before the rate: asking again under the same id is how a client finds out, and is no new question.
            if known is not None:
                return self._again(known, key, asked.name, said)
            if not self.rates.take(identity.user_id, time.monotonic()):
                raise Reject(Code.RATE_LIMITED)
            # By the rules of messages: what a bot answers is a message, for which somebody who may not write would be
            # the cause.
            await self._room_to_write(key, identity)
            found = await offered.find(self._pool, self._bus, identity, key, asked.name, asked.bot)
            if users := fit(found.command.options, asked.options):
                room, _ = await rows.room_with(self._pool, key, identity.user_id, users)
                # Whoever names strangers would learn from a bot which ids there are.
                if not all(room.is_in(user) for user in users):
                    raise Reject(Code.INVALID_PAYLOAD, "Users in options are members of the room.")
            bot = found.bot
            row = (
                identity.user_id, asked.id, uuid7(), key, identity.name, bot.id, bot.name or "", asked.name, said
            )  # fmt: skip
            # Two that were sent at once under one id meet here: one row is kept, and both are answered by it.
            kept, new = await rows.ask(self._pool, identity, bot.id, row)
        if not new:
            return self._again(kept, key, asked.name, said)
        await self._tell(bot.id, "command.invoked", _for_bot(kept))
        return _for_user(kept)

    async def waiting(self, identity: Identity, asked: ListInvocations) -> WaitingInvocations:
        """Return what waits for a bot."""
        with reachable():
            found = await rows.of_bot(self._pool, identity.user_id, asked.limit)
        return WaitingInvocations([_for_bot(row) for row in found])

    async def defer(self, identity: Identity, said: DeferReply) -> AskedOfBot:
        """Give a bot more time. Raises `Reject`."""
        with reachable():
            row = await rows.defer(self._pool, said.invocation, identity.user_id)
            if row is None:
                raise await self._too_late(identity, said.invocation)
        await self._tell(row["user_id"], "invocation", _for_user(row))
        return _for_bot(row)

    async def reply(self, identity: Identity, said: ReplyToCommand) -> CommandOutcome:
        """Take a bot's answer; the same one may come again. Raises `Reject`."""
        if len(said.body) > self._max_body or len(checked_text(said.body)) > self._max_body:
            raise Reject(Code.PAYLOAD_TOO_LARGE, f"An answer is at most {self._max_body} bytes of text.")
        private = said.body if said.only_you else ""
        with reachable():
            asked = await rows.one(self._pool, said.invocation, identity.user_id)
            if asked is None:
                raise _unknown()
            # Before it is claimed: a bot that may not write may not answer in another way either.
            await self._room_to_write(asked["room_id"], identity)
            row = await rows.claim(self._pool, said.invocation, identity.user_id, said.only_you, private)
            if row is None:
                raise await self._too_late(identity, said.invocation)
        # Between the claim and the note: if this dies here, the bot sends the same again and finds its message in the
        # log.
        sequence = None if said.only_you else await self._send(identity, said.body, row)
        with reachable():
            row = await rows.answered(self._pool, said.invocation, sequence)
        if row is None:
            raise _unknown()
        outcome = _for_user(row)
        await self._tell(row["user_id"], "invocation", outcome)
        return outcome

    async def run(self) -> None:
        """Tell users of what was not answered in time, for ever."""
        tidy_at = time.monotonic() + TIDY_SECONDS
        while True:
            await asyncio.sleep(INTERVAL)
            try:
                for row in await rows.expire(self._pool, AT_ONCE):
                    await self._tell(row["user_id"], "invocation", _for_user(row))
                if time.monotonic() >= tidy_at:
                    tidy_at = time.monotonic() + TIDY_SECONDS
                    await rows.forget_old(self._pool)
            except (*DATABASE_ERRORS, Reject) as error:
                outages.note(error)

    async def _room_to_write(self, key: int, identity: Identity) -> Room:
        """Return a room in which somebody may write. Raises `Reject`."""
        room, now = await rows.room_with(self._pool, key, identity.user_id, [])
        require_open(room, identity.user_id)
        require_may(Permission.POST, room, DecisionContext(identity, now=now))
        return room

    async def _send(self, identity: Identity, body: str, row: Any) -> int:
        """Send the answer as a message, under an id made of the invocation's: so it is sent once. Raises `Reject`."""
        answers = {"invocation": str(row["invocation"]), "name": row["name"], "user": row["user_id"]}
        room = public_room_id(row["room_id"])
        message = SendMessage(f"answer-{row['invocation']}", room, body, data={"command": answers})
        accepted = await self._writer.submit(message, identity, f"invocation-{row['invocation']}")
        return accepted.sequence

    async def _too_late(self, identity: Identity, invocation: UUID) -> Reject:
        row = await rows.one(self._pool, invocation, identity.user_id)
        if row is None:
            return _unknown()
        if row["state"] == "answered" or row["only_you"] is not None:
            return Reject(Code.CONFLICT, "This was answered, and otherwise.")
        return Reject(Code.NOT_FOUND, "The time for this answer is over.")

    def _again(self, row: Any, key: int, name: str, said: str) -> CommandOutcome:
        if (row["room_id"], row["name"], row["options"]) != (key, name, said):
            raise Reject(Code.ID_CONFLICT)
        return _for_user(row)

    async def _tell(self, user_id: str, event: str, what: CommandOutcome | AskedOfBot) -> None:
        room_event = RoomEvent(event, msgspec.json.encode(what), volatile=True)
        try:
            await self._rooms.publish_all([(subjects.user_room(user_id), Delivery([room_event]))])
        except Exception as error:
            # Both sides can ask for it.
            log.warning("nobody was told of a command", exc_info=error)


def _unknown() -> Reject:
    return Reject(Code.NOT_FOUND, "Nothing of this kind was asked of you.")


def _for_user(row: Any) -> CommandOutcome:
    return CommandOutcome(
        row["invocation"], row["id"], public_room_id(row["room_id"]), row["name"],
        NamedUser(row["bot_id"], row["bot_name"]), row["state"], row["expires_at"], row["deferred"],
        bool(row["only_you"]), row["body"], row["sequence"],
    )  # fmt: skip


def _for_bot(row: Any) -> AskedOfBot:
    return AskedOfBot(
        row["invocation"], public_room_id(row["room_id"]), row["name"], msgspec.json.decode(row["options"]),
        NamedUser(row["user_id"], row["user_name"]), row["created_at"], row["expires_at"], row["deferred"],
    )  # fmt: skip
