"""What people do in rooms and how often, by the mix of a measured workload: for each message so many of the others."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.chaos.people import Person

PER_MESSAGE: Mapping[str, float] = {
    "message": 1.0, "read": 1.0, "react": 0.131, "edit": 0.040, "delete": 0.005, "pin": 0.005, "moderate": 0.02,
}  # fmt: skip
"""Marks as unread counts are looked at: once for each message. Joins, leaves and moderation are more than are measured,
since they are what deliveries go wrong by."""
REPLIES = 0.10
"""The share of messages that are replies in a thread."""
MENTIONS = 0.05
"""The share of messages that mention somebody."""
TAKEN_BACK = 0.25
"""The share of reactions that take one back."""
AT_ONCE = 0.3
"""The share of edits that are two at once, of the same version, from two places."""
RECENT = 20
"""Messages of a room that people do something about: the newest."""
EMOJI = ("👍", "🎉", "❤️", ":party:")
OWNERS = frozenset({"pin", "moderate"})
"""What members may not do, and who owns a room does in one of theirs."""
IN_ONES_OWN = 0.8
"""How often they do it there, and not in any room, where they may be made moderators or be refused."""
SELDOM = ("react", "edit", "delete", "pin", "moderate")


def drawn(dice: random.Random, amending: float) -> str:
    """What is done next. `amending` is how many times as often what is seldom is done."""
    weights = [weight * (amending if what in SELDOM else 1) for what, weight in PER_MESSAGE.items()]
    return dice.choices(list(PER_MESSAGE), weights)[0]


async def do(person: Person, what: str, room: str) -> None:
    """Do something of the mix in a room, or say something where there is nothing to do it to."""
    dice = person.dice
    owned = [place.id for place in person.places if place.owner == person.user]
    if what in OWNERS and owned and dice.random() < IN_ONES_OWN:
        room = dice.choice(owned)
    there = dice.choice(person.clients).views.messages(room, RECENT)
    own = [event for event in there if event["actor"]["id"] == person.user]
    match what:
        case "read" if there:
            await person.read(room, dice.choice(there)["sequence"])
        case "react" if there:
            await _react(person, room, dice.choice(there))
        case "edit" if own:
            await _edit(person, room, dice.choice(own))
        case "delete" if own:
            await person.command("message.delete", room, message=dice.choice(own)["sequence"])
        case "pin" if there:
            message = dice.choice(there)
            pins = "message.unpin" if message["data"].get("pinned") else "message.pin"
            await person.command(pins, room, message=message["sequence"])
        case "moderate":
            await _moderate(person, room)
        case _:
            times = 5 if dice.random() < person.habits.burst else 1
            await asyncio.gather(*(_say(person, room, there) for _ in range(times)))


async def _say(person: Person, room: str, there: list[dict[str, Any]]) -> None:
    fields: dict[str, Any] = {}
    roots = [event["sequence"] for event in there if not isinstance(event["data"].get("thread"), int)]
    if roots and person.dice.random() < REPLIES:
        fields["thread"] = person.dice.choice(roots)
    if person.dice.random() < MENTIONS:
        fields["mentions"] = [person.dice.choice(person.others)]
    await person.command("message.send", room, body=uuid.uuid4().hex, **fields)


async def _react(person: Person, room: str, message: dict[str, Any]) -> None:
    """React to a message, or take back what one reacted with, be it there or not."""
    mine = [one["emoji"] for one in message["data"].get("reactions", ()) if one.get("mine")]
    takes = person.dice.random() < TAKEN_BACK
    emoji = person.dice.choice(mine if takes and mine else EMOJI)
    await person.command(f"reaction.{'remove' if takes else 'add'}", room, message=message["sequence"], emoji=emoji)


async def _edit(person: Person, room: str, message: dict[str, Any]) -> None:
    """Replace the version that is shown, from one place or from two at once."""
    place = {"message": message["sequence"], "version": message["data"]["version"]}
    times = 2 if person.dice.random() < AT_ONCE else 1
    await asyncio.gather(*(person.command("message.edit", room, body=uuid.uuid4().hex, **place) for _ in range(times)))


async def _moderate(person: Person, room: str) -> None:
    """Do something about somebody else, for a few seconds or until it is lifted, or lift what was done before."""
    user = person.dice.choice(person.others)
    if person.measures and person.dice.random() < 0.5:
        event, where, about = person.measures.pop()
        await person.command(event, where, **about)
        return
    # Who does not own the room would be refused a role for another reason each time.
    owns = any(place.id == room and place.owner == person.user for place in person.places)
    what = person.dice.choice(("role", "mute", "remove", "ban") if owns else ("mute", "remove", "ban"))
    fields: dict[str, Any] = {"user": user}
    if what == "role":
        fields["role"] = person.dice.choice(("moderator", "member"))
    elif what != "remove" and person.dice.random() < 0.5:
        fields["seconds"] = 3
    elif what != "remove":
        person.measures.append((f"member.un{what}", room, {"user": user}))
    await person.command(f"member.{what}", room, **fields)
