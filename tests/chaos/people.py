"""What the people of a run do: talk, come and go, invite, lose connections, and send each command until it is acked."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

import httpx
import jwt

from tests.chaos.ledger import Ledger
from tests.chaos.sockets import AnySocket
from tests.support.clients.plain_http import plain_http
from tests.support.stack.stack import SECRET

ATTEMPT_SECONDS = 3.0
PASSWORD = "a long password"
WEEK = 7 * 86400


@dataclass(frozen=True)
class Habits:
    """How much is done."""

    pause: float
    """Seconds between what one person does, on average."""
    churn: float
    """The share of it that is joins and leaves."""
    parting: float = 0.03
    """The share of it that is connections lost on purpose."""
    inviting: float = 0.15
    """The share of what the owner of a private room does that is an invitation."""
    burst: float = 0.05
    """The share of what is said that is said five at once."""


@dataclass(frozen=True)
class Place:
    """A room to be in."""

    id: str
    private: bool
    owner: str


@dataclass
class Person:
    """A user with one or two clients."""

    user: str
    name: str
    own: bool
    """Whether they have an account here, and no token of an issuer's."""
    clients: list[AnySocket]
    places: list[Place]
    others: list[str]
    """Whom they may invite."""
    auths: list[str]
    """Where auth answers."""
    ledger: Ledger
    dice: random.Random
    habits: Habits
    member: set[str] = field(default_factory=set[str])
    """The rooms they are in, as far as they were told."""
    waiting: int = 0
    """Commands without an answer."""

    def __post_init__(self) -> None:
        self.member |= {place.id for place in self.places if place.owner == self.user}

    async def live(self, over: asyncio.Event) -> None:
        """Do things until it is over, and have an answer to each."""
        for place in self.places:
            if place.owner == self.user and place.private:
                for guest in self.dice.sample(self.others, len(self.others) // 2):
                    await self._invite(place, guest)
            elif place.owner != self.user and not place.private:
                await self.move(place)
        while not over.is_set():
            await self._something()
            try:
                await asyncio.wait_for(over.wait(), self.dice.expovariate(1 / self.habits.pause))
            except TimeoutError:
                continue

    async def come_back(self) -> None:
        """See to it that all clients are there, until cancelled: what stock clients leave to the app."""
        while True:
            await asyncio.sleep(0.3)
            for client in self.clients:
                if client.outdated and (token := await self.token()):
                    client.renew(token)
                if client.given_up:
                    client.again()

    async def token(self) -> str:
        """A new token, or none while auth cannot be asked."""
        if not self.own:
            return issued(self.user)
        login = {"username": self.name, "password": PASSWORD}
        async with plain_http(timeout=5) as http:
            for auth in self.dice.sample(self.auths, len(self.auths)):
                try:
                    answer = await http.post(f"{auth}/auth/login", json=login)
                except httpx.HTTPError:
                    continue
                if answer.status_code == 200:
                    return answer.json()["access_token"]
        return ""

    async def _something(self) -> None:
        place = self.dice.choice(self.places)
        what = self.dice.random()
        if what < self.habits.parting:
            await self.dice.choice(self.clients).part()
        elif what < self.habits.parting + self.habits.churn and place.owner != self.user:
            await self.move(place)
        elif place.owner == self.user and self.dice.random() < self.habits.inviting:
            await self._invite(place, self.dice.choice(self.others))
        elif self.member:
            room = self.dice.choice(sorted(self.member))
            times = 5 if self.dice.random() < self.habits.burst else 1
            await asyncio.gather(*(self.command("message.send", room, body=uuid.uuid4().hex) for _ in range(times)))

    async def _invite(self, place: Place, guest: str) -> None:
        await self.command("room.invite", place.id, user={"id": guest, "name": guest})

    async def move(self, place: Place) -> None:
        """Join, or leave who is a member."""
        leaves = place.id in self.member
        answer = await self.command("room.leave" if leaves else "room.join", place.id)
        if not answer["ok"]:
            if answer["error"]["code"] == "not_a_member":
                self.member.discard(place.id)
            return
        if not leaves:
            self.member.add(place.id)
            for client in self.clients:
                client.has(place.id, answer["sequence"] - 1)
            return
        self.member.discard(place.id)
        for client in self.clients:
            client.has(place.id, None)
        if place.private:
            await self._look_back(place, answer["sequence"])

    async def _look_back(self, place: Place, left: int) -> None:
        """Try to read a private room after having left it."""
        began = time.monotonic()
        answer = await self._answered("history", {"room": place.id, "raw": True})
        last = max((event["sequence"] for event in answer.get("events", ())), default=0)
        self.ledger.write("reading", user=self.user, room=place.id, began=began, left=left, last=last)

    async def command(self, event: str, room: str, **fields: Any) -> dict[str, Any]:
        """Send a command until it is accepted, or refused for good; both are on the disk when this returns."""
        command = {"id": str(uuid.uuid4()), "room": room, **fields}
        body = fields.get("body", "")
        self.waiting += 1
        self.ledger.write("command", user=self.user, event=event, id=command["id"], room=room, body=body)
        await self.ledger.kept()
        answer = await self._answered(event, command)
        said = {name: answer[name] for name in ("ok", "error", "sequence", "event_id") if name in answer}
        self.ledger.write("answer", id=command["id"], answer=said, attempts=answer["attempts"])
        await self.ledger.kept()
        self.waiting -= 1
        return answer

    async def _answered(self, event: str, message: dict[str, Any]) -> dict[str, Any]:
        attempts = 0
        while True:
            attempts += 1
            client = self.dice.choice(self.clients)
            try:
                async with asyncio.timeout(ATTEMPT_SECONDS + 1):
                    answer = await client.emit(event, message, timeout=ATTEMPT_SECONDS)
            except Exception:  # noqa: BLE001 - disconnected or timed out: whatever it is, it is tried again
                answer = None
            if isinstance(answer, dict) and "ok" in answer and (answer["ok"] or not answer["error"]["retryable"]):
                return {**answer, "attempts": attempts}
            await asyncio.sleep(0.1)


def issued(user: str) -> str:
    """A token of the adopter's own server."""
    return jwt.encode({"sub": user, "name": user, "exp": time.time() + WEEK}, SECRET, "HS256")
