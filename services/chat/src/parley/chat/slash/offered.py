"""Which slash commands there are: what bots have registered, everywhere or for one room.

A command is there in a room as long as its bot is a member of it, and auth still knows the bot. Neither is written down
here; both are looked up, so that a bot that left or was deleted offers nothing from then on.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Annotated, NamedTuple

import msgspec

from parley.chat.domain.events import NamedUser
from parley.chat.domain.fields import RoomId, UserId
from parley.chat.log.database import Pool, reachable
from parley.chat.log.erasure.erasures import ANY_OPEN, GATE
from parley.chat.queries.visibility import VISIBLE, key_of, no_such_room
from parley.chat.slash.command_options import CommandName, CommandOption, Description, SlashCommand
from parley.common.wire import subjects
from parley.common.wire.identity import CheckWelcome, HeldUser, UnwelcomeUsers
from parley.framework import Bus, Code, Identity, Reject

MAX_COMMANDS = 50
"""Commands that a bot registers everywhere, and as many for one room."""
MAX_REGISTERED = 500
"""Commands of one bot in all."""
MAX_PAGE = 50
MAX_BOTS = 20
"""Bots of a room that are looked at for one command, if as many have one of the same name."""
EVERYWHERE = 0
"""Stands for a room's key in what is registered for all rooms. No room has it."""

_MAY_SEE = f"SELECT true FROM chat.rooms r WHERE r.room_id = $2 AND {VISIBLE}"
_JOINED = "SELECT state = 'joined' FROM chat.members WHERE room_id = $1 AND user_id = $2"
_ERASING = f"""
SELECT CASE WHEN {ANY_OPEN} THEN EXISTS (
  SELECT FROM chat.erasures WHERE completed_at IS NULL AND user_id = $1
) ELSE false END
"""
_CLEAR = "DELETE FROM chat.bot_commands WHERE user_id = $1 AND room_id = $2"
_COUNT = "SELECT count(*) FROM chat.bot_commands WHERE user_id = $1"
_PUT = """
INSERT INTO chat.bot_commands (user_id, room_id, name, command)
SELECT $1::text, $2::bigint, q.* FROM unnest($3::text[], $4::text[]) AS q(name, command)
"""
# What a bot registered for a room goes before what it registered everywhere. Who blocked whom have no commands.
_OFFERED = f"""
SELECT DISTINCT ON (c.name, c.user_id) c.user_id, c.name, c.command, m.name AS bot_name
FROM chat.bot_commands c
JOIN chat.members m ON m.room_id = $2 AND m.user_id = c.user_id AND m.state = 'joined'
WHERE c.room_id IN ({EVERYWHERE}, $2) AND {{which}}
  AND NOT EXISTS (
    SELECT FROM chat.blocks b
    WHERE (b.user_id = $1 AND b.blocked_id = c.user_id) OR (b.user_id = c.user_id AND b.blocked_id = $1)
  )
  AND CASE WHEN {ANY_OPEN} THEN NOT EXISTS (
    SELECT FROM chat.erasures x WHERE x.completed_at IS NULL AND x.user_id = c.user_id
  ) ELSE true END
ORDER BY c.name, c.user_id, c.room_id = {EVERYWHERE}
"""
_PAGE = _OFFERED.format(which="starts_with(c.name, $3) AND (c.name, c.user_id) > ($4, $5)") + " LIMIT $6"
_NAMED = _OFFERED.format(which="c.name = $3 AND ($4 = '' OR c.user_id = $4)") + f" LIMIT {MAX_BOTS}"


class SetCommands(msgspec.Struct, frozen=True):
    """`commands.set`: the commands that a bot offers in all of its rooms, or in one.

    They take the place of those before; an empty list is none.
    """

    commands: Annotated[list[SlashCommand], msgspec.Meta(max_length=MAX_COMMANDS)]
    room: RoomId | None = None


class ListCommands(msgspec.Struct, frozen=True):
    """`commands`: those that one may use in a room, by name and bot, that begin with `prefix`.

    The next page follows `after`, the name of the last command, and `after_bot`, the id of its bot.
    """

    room: RoomId
    prefix: Annotated[str, msgspec.Meta(max_length=32)] = ""
    after: Annotated[str, msgspec.Meta(max_length=32)] = ""
    after_bot: Annotated[str, msgspec.Meta(max_length=128)] = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_PAGE)] = MAX_PAGE


class OfferedCommand(msgspec.Struct, frozen=True):
    """A command, and the bot whose it is."""

    name: CommandName
    description: Description
    options: tuple[CommandOption, ...]
    bot: NamedUser


class OfferedCommands(msgspec.Struct, frozen=True):
    """A page of a room's commands; `more` says whether another one follows."""

    commands: list[OfferedCommand]
    more: bool


class Found(NamedTuple):
    """A command that can be used."""

    bot: NamedUser
    command: SlashCommand


async def register(pool: Pool, identity: Identity, said: SetCommands) -> None:
    """Take a bot's commands, all or none. Raises `Reject`."""
    if identity.scopes is None:
        # Only such tokens are meant for programs. A person's would have every page that holds it offer commands.
        raise Reject(Code.FORBIDDEN, "Only bots offer commands: with an API key, or a token that has scopes.")
    names = [command.name for command in said.commands]
    if len(set(names)) < len(names):
        raise Reject(Code.ALREADY_EXISTS, "Two of these commands have the same name.")
    encoded = [command.encoded() for command in said.commands]
    room = EVERYWHERE if said.room is None else key_of(said.room)
    user = identity.user_id
    with reachable():
        async with pool.acquire() as connection, connection.transaction(isolation="read_committed"):
            # So that whoever is about to be erased is known here, or their erasure finds these rows.
            await connection.execute("SELECT pg_advisory_xact_lock_shared($1)", GATE)
            # Two of its processes may register at once: the last one stands, and the bound holds.
            await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('commands ' || $1::text, 0))", user)
            if await connection.fetchval(_ERASING, user):
                raise Reject(Code.FORBIDDEN, "What this bot wrote is being erased.")
            if said.room is not None and names:
                if not await connection.fetchval(_MAY_SEE, user, room):
                    raise no_such_room()
                if not await connection.fetchval(_JOINED, room, user):
                    raise Reject(Code.NOT_A_MEMBER)
            await connection.execute(_CLEAR, user, room)
            if await connection.fetchval(_COUNT, user) + len(names) > MAX_REGISTERED:
                raise Reject(Code.LIMIT_EXCEEDED, f"A bot has at most {MAX_REGISTERED} commands.")
            await connection.execute(_PUT, user, room, names, encoded)


async def page(pool: Pool, bus: Bus, identity: Identity, asked: ListCommands) -> OfferedCommands:
    """Return commands that a member may use in a room. Raises `Reject`."""
    room, user = key_of(asked.room), identity.user_id
    with reachable():
        async with pool.acquire() as connection:
            if not await connection.fetchval(_MAY_SEE, user, room):
                raise no_such_room()
            if not await connection.fetchval(_JOINED, room, user):
                raise Reject(Code.NOT_A_MEMBER)
            rows = await connection.fetch(
                _PAGE, user, room, asked.prefix, asked.after, asked.after_bot, asked.limit + 1
            )
    shown = rows[: asked.limit]
    welcome = await welcome_bots(bus, {row["user_id"] for row in shown})
    commands: list[OfferedCommand] = []
    for row in shown:
        if row["user_id"] in welcome:
            command = msgspec.json.decode(row["command"], type=SlashCommand)
            bot = NamedUser(row["user_id"], row["bot_name"])
            commands.append(OfferedCommand(command.name, command.description, command.options, bot))
    return OfferedCommands(commands, len(rows) > asked.limit)


async def find(pool: Pool, bus: Bus, identity: Identity, room: int, name: str, bot: str | None) -> Found:
    """Return the one command of this name in a room.

    Raises `Reject`: `not_found`, or `conflict` if several bots have one.
    """
    rows = await pool.fetch(_NAMED, identity.user_id, room, name, bot or "")
    welcome = await welcome_bots(bus, {row["user_id"] for row in rows})
    rows = [row for row in rows if row["user_id"] in welcome]
    if not rows:
        raise Reject(Code.NOT_FOUND, "There is no such command in this room.")
    # Chosen by nobody else than who asks: two bots could fight over a name.
    if len(rows) > 1:
        raise Reject(Code.CONFLICT, "Several bots have a command of this name: say which one is meant.")
    (row,) = rows
    command = msgspec.json.decode(row["command"], type=SlashCommand)
    return Found(NamedUser(row["user_id"], row["bot_name"]), command)


async def welcome_bots(bus: Bus, bots: Iterable[UserId]) -> set[str]:
    """Return who of these auth still knows, and who may write. Raises `Reject` while auth cannot be asked."""
    asked = sorted(bots)
    if not asked:
        return set()
    # As if they had just been let in: only what stands now counts, and not that they were kicked since.
    held = [HeldUser(bot, time.time() + 1, 0.0) for bot in asked]
    answer = await bus.request(subjects.WELCOME, CheckWelcome(held), UnwelcomeUsers, repeat=True)
    gone = {refused.position for refused in answer.users}
    # A suspended bot reads and could not answer, so it is not asked.
    gone |= {changed.position for changed in answer.changed if changed.suspended}
    return {bot for position, bot in enumerate(asked) if position not in gone}
