"""What the people of a run do: talk, come and go, invite, lose connections, and send each command until it is acked."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx
import jwt

from tests.chaos.ledger import Ledger
from tests.chaos.mix import RECENT, do, drawn
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
    amending: float = 1.0
    """How many times as often as in the mix people edit, delete, react, pin and moderate."""


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
    measures: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list[tuple[str, str, dict[str, Any]]])
    """What is to be lifted again."""

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
                elif client.connected_now:
                    await self._show(client)

    async def _show(self, client: AnySocket) -> None:
        """Load a room that a client does not show yet, and have it come back from there on."""
        for room in sorted(self.member - client.views.pages.keys())[:1]:
            with suppress(Exception):  # disconnected or timed out: the next time, then
                async with asyncio.timeout(ATTEMPT_SECONDS + 1):
                    if await client.views.load(room, client.emit):
                        client.has(room, client.views.pages[room].head)

    async def look(self) -> None:
        """Write down, when all is over, what each client shows, what it would load now, and the list of rooms."""
        for client in self.clients:
            for room, page in client.views.pages.items():
                if room in self.member and page.events:
                    loaded = await self._loaded(client, room, page.events[0]["sequence"])
                    shown = {"head": page.head, "events": page.events}
                    self.ledger.write("view", client=client.name, user=self.user, room=room, **shown, **loaded)
        listed = await self._answered("rooms", {})
        for room in listed.get("rooms", ()):
            if room["joined"]:
                said = {name: room[name] for name in ("read", "unread", "mentions")}
                self.ledger.write("standing", user=self.user, room=room["id"], **said)

    async def read_some(self) -> None:
        """Read every room up to some message that is shown."""
        for room in sorted(self.member):
            if there := self.clients[0].views.messages(room, RECENT):
                await self.read(room, self.dice.choice(there)["sequence"])

    async def _loaded(self, client: AnySocket, room: str, first: int) -> dict[str, Any]:
        """A room's messages as they are now, from an event on."""
        events: list[Any] = []
        after, more, head = first - 1, True, 0
        while more:
            answer = await client.emit("history", {"room": room, "after": after, "limit": 200}, timeout=10.0)
            events += answer["events"]
            after, more, head = answer.get("after", 0), answer["more"], answer["head"]
        return {"loaded": events, "loaded_head": head}

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
            await do(self, drawn(self.dice, self.habits.amending), room)

    async def read(self, room: str, sequence: int) -> None:
        """Say that one has read a room up to an event."""
        mark = str(uuid.uuid4())
        self.ledger.write("mark", id=mark, user=self.user, room=room, sequence=sequence)
        answer = await self._answered("read", {"room": room, "sequence": sequence})
        said = {name: answer[name] for name in ("ok", "sequence", "unread") if name in answer}
        self.ledger.write("marked", id=mark, answer=said)

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
        self._is_out(place.id)
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
        self.waiting += 1
        self.ledger.write("command", user=self.user, event=event, id=command["id"], room=room, fields=fields)
        await self.ledger.kept()
        answer = await self._answered(event, command)
        said = {name: answer[name] for name in ("ok", "error", "sequence", "event_id") if name in answer}
        self.ledger.write("answer", id=command["id"], answer=said, attempts=answer["attempts"])
        await self.ledger.kept()
        self.waiting -= 1
        if not answer["ok"] and answer["error"]["code"] == "not_a_member" and event != "room.leave":
            self._is_out(room)
        return answer

    def _is_out(self, room: str) -> None:
        self.member.discard(room)
        for client in self.clients:
            client.has(room, None)
            client.views.drop(room)

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
