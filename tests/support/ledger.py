"""What was acked and who was a member, and whether log, streams and memberships agree with it in the end."""

from __future__ import annotations

import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from tests.support.clients.conversation import persist
from tests.support.clients.stock_clients import JsClient, PythonClient
from tests.support.room_log import Logged, logged, spans_of
from tests.support.waiting import until

AnyClient = PythonClient | JsClient


@dataclass(eq=False)
class Person:
    """A user with one connected client, and whether they are a member of the room."""

    client: AnyClient
    account: dict[str, Any]
    member: bool = False

    @property
    def user(self) -> str:
        """Their id."""
        return self.account["user_id"]


@dataclass
class Ledger:
    """One room, and all that was acked in it."""

    room: str
    people: list[Person]
    acked: dict[str, int] = field(default_factory=dict[str, int])
    joined: dict[str, int] = field(default_factory=dict[str, int])
    """Where each join and leave was acked to be, by the command's id."""

    async def say(self, person: Person) -> None:
        """Send a message until it is acked."""
        body = uuid.uuid4().hex
        answer = await persist(person.client, "message.send", room=self.room, body=body)
        self.acked[body] = answer["sequence"]

    async def move(self, person: Person) -> None:
        """Join who is none, or leave who is a member, until it is acked."""
        what = "room.leave" if person.member else "room.join"
        answer = await persist(person.client, what, room=self.room)
        person.member = not person.member
        self.joined[f"{what} {person.user} {len(self.joined)}"] = answer["sequence"]

    async def log(self, person: Person) -> list[dict[str, Any]]:
        """All events of the room, as a member reads them."""
        events: list[dict[str, Any]] = []
        while True:
            after = events[-1]["sequence"] if events else 0
            page = await person.client.emit("history", {"room": self.room, "after": after, "limit": 200, "raw": True})
            events += page["events"]
            if not page["more"]:
                return events

    async def agrees(self, timeout: float = 5.0) -> None:
        """Everything acked is in the log once; every stream is what its member was a member for, once and in order."""
        reader = next(person for person in self.people if person.member)
        await self.say(reader)
        log = await self.log(reader)
        assert [event["sequence"] for event in log] == list(range(1, len(log) + 1)), "gaps in the log"
        texts = [(event["data"]["body"], event["sequence"]) for event in log if event["type"] == "message.sent"]
        assert len(texts) == len(dict(texts)), "doubled in the log"
        assert dict(texts) == self.acked, "what was acked is not what is in the log"
        moves = {event["sequence"] for event in log if event["type"] in {"member.joined", "member.left"}}
        assert set(self.joined.values()) <= moves | {1}, "an acked move is not in the log"
        events = [logged(event) for event in log]
        due = {person: _due(events, person.user) for person in self.people}
        for person, sequences in due.items():
            assert (sequences[-1:] == [len(log)]) is person.member, "membership in the log"
        with suppress(AssertionError):
            await until(lambda: all(len(self.heard(p)) >= len(due[p]) for p in self.people), seconds=timeout)
        faults = {p.user: _difference(heard, due[p]) for p in self.people if (heard := self.heard(p)) != due[p]}
        assert not faults, faults

    def heard(self, person: Person) -> list[int]:
        """The sequences that a client was sent, in order."""
        return [event["sequence"] for event in person.client.logged(self.room)]


def _due(log: list[Logged], user: str) -> list[int]:
    """What a user's client must have been sent: all from each join up to the leave."""
    spans = spans_of(log, user)
    return [sequence for joined, left in spans for sequence in range(joined, (left or len(log)) + 1)]


def _difference(heard: list[int], due: list[int]) -> str:
    twice = sorted({sequence for sequence in heard if heard.count(sequence) > 1})
    parts = {
        "missing": sorted(set(due) - set(heard)),
        "foreign": sorted(set(heard) - set(due)),
        "twice": twice,
        "out of order": [] if twice or heard == sorted(heard) else heard,
    }
    return ", ".join(f"{name} {found}" for name, found in parts.items() if found)
