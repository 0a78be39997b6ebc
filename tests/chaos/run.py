"""A run from its first process to its verdict."""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
import uuid
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg

from parley.cli.database.replays import verify_projections
from tests.chaos.deleted_texts import looked_for
from tests.chaos.evidence import history_of
from tests.chaos.faults import Faults
from tests.chaos.history import STILL, History, Room, Verified
from tests.chaos.judge import Verdict, judge
from tests.chaos.ledger import Evidence, Ledger
from tests.chaos.moderator import Moderator
from tests.chaos.people import PASSWORD, Habits, Place, issued
from tests.chaos.schedule import Fault
from tests.chaos.stack import Layout, Stack
from tests.support.clients.plain_http import plain_http
from tests.support.clients.stock_clients import HAS_JS_CLIENT
from tests.support.paths import ROOT
from tests.support.room_log import Member, logged

ANSWER_SECONDS = 120.0
STILL_AT_MOST = 15.0
"""Seconds for which is waited until no ledger grows any more."""


@dataclass(frozen=True)
class Settings:
    """What a run is made of, besides its faults."""

    seed: int
    seconds: float
    clients: int = 24
    rate: float = 15.0
    """What all people do in a second, if nothing holds them up."""
    churn: float = 0.15
    moderation: float = 8.0
    """Seconds between two kicks or bans, on average; 0 for none."""
    amending: float = 1.0
    """How many times as often as in the mix people edit, delete, react, pin and moderate."""
    layout: Layout = field(default_factory=Layout)


@dataclass(frozen=True)
class Outcome:
    """What a run came to."""

    verdict: Verdict
    history: History
    deaths: Sequence[str]
    """Processes that ended by themselves."""
    made: Sequence[Fault]
    """The faults that there was time for."""

    @property
    def good(self) -> bool:
        """Whether all is as it must be."""
        return self.verdict.good and not self.deaths


def make_people(settings: Settings) -> list[dict[str, Any]]:
    """Who takes part: every fifth has two clients, half have an account, and half use npm's client if it is there."""
    people: list[dict[str, Any]] = []
    clients = 0
    while clients < settings.clients:
        number = len(people)
        kind = "js" if HAS_JS_CLIENT and number % 2 else "python"
        count = min(2 if number % 5 == 4 else 1, settings.clients - clients)
        name = f"user{number}"
        people.append({"user": name, "name": name, "own": number % 4 > 1, "clients": [kind] * count})
        clients += count
    return people


class Run:
    """One run, in a directory of its own, which keeps all logs and ledgers."""

    def __init__(self, settings: Settings, schedule: Sequence[Fault], directory: Path) -> None:
        self._settings = settings
        self._schedule = schedule
        self._directory = directory
        self._dice = random.Random(settings.seed)
        self._people = make_people(settings)
        self._places: list[Place] = []
        self._workers: list[asyncio.subprocess.Process] = []
        self._http = plain_http(timeout=15)

    async def play(self, stack: Stack) -> Outcome:
        """Play it on a deployment that runs."""
        own = self._directory / "conductor.jsonl"
        async with self._http:
            async with Ledger.open(own) as ledger:
                ledger.write("begin", users=[])
                await self._register(stack)
                await self._make_rooms(stack, ledger)
                ledgers = await self._start_clients(stack)
                began = time.monotonic()
                faults = Faults(stack, ledger)
                await self._trouble(stack, ledger, faults)
                ended = time.monotonic()
                await self._told("quiet", ANSWER_SECONDS)
                # What nobody was told of would come with the next event of its room, and be no worse than late: so
                # first all is still, and then comes the last word of each room, which shows who still hears it.
                await self._nothing_new(ledgers)
                ledger.write("last words")
                for place in self._places:
                    await self._rest(stack, ledger, place, "message.send", "/messages", body=uuid.uuid4().hex)
                await self._nothing_new(ledgers)
                await self._told("end", 0)
                await asyncio.gather(*(asyncio.wait_for(worker.wait(), ANSWER_SECONDS) for worker in self._workers))
            rooms = {place.id: await self._room(stack, place) for place in self._places}
            rows = await verify_projections(stack.postgres.url, "")
            history = replace(
                history_of([Evidence(file) for file in (own, *ledgers)], rooms, began, ended),
                notified=await _notified(stack.postgres.url),
                verified=Verified(rows.rooms, rows.wrong, str(rows.first or "")),
            )
            search = partial(self._finds, stack)
            history = replace(history, texts=await looked_for(history, stack.postgres.url, search, self._dice))
        return Outcome(judge(history), history, faults.deaths, faults.made)

    async def _register(self, stack: Stack) -> None:
        auth = stack.services["auth1"].url
        for person in self._people:
            if person["own"]:
                account = {"username": person["name"], "password": PASSWORD}
                answer = await self._http.post(f"{auth}/auth/register", json=account)
                person["user"] = answer.raise_for_status().json()["user_id"]

    async def _make_rooms(self, stack: Stack, ledger: Ledger) -> None:
        owners = [person["user"] for person in self._people if not person["own"]]
        for number, kind in enumerate(["public"] * min(4, 2 + self._settings.clients // 12) + ["private"] * 2):
            owner = owners[number % len(owners)]
            place = Place("", kind == "private", owner)
            answer = await self._rest(stack, ledger, place, "room.create", "", name=f"Room {number}", kind=kind)
            self._places.append(Place(answer["room"]["id"], kind == "private", owner))

    async def _rest(
        self, stack: Stack, ledger: Ledger, place: Place, event: str, path: str, **fields: Any
    ) -> dict[str, Any]:
        """A command of a room's owner, by the API of the first chat, with its lines in the ledger."""
        command = str(uuid.uuid4())
        began = time.monotonic()
        where = f"rooms/{place.id}" if place.id else "rooms"
        answer = await self._http.post(
            f"{stack.services['chat1'].url}/api/{where}{path}", json={"id": command, **fields},
            headers={"Authorization": f"Bearer {issued(place.owner)}"},
        )  # fmt: skip
        said = answer.raise_for_status().json()
        room = place.id or said["room"]["id"]
        ledger.write("command", user=place.owner, event=event, id=command, room=room, fields=fields, at=began)
        ledger.write("answer", id=command, answer=said, attempts=1)
        return said

    async def end(self) -> None:
        """End what may still run of it."""
        for worker in self._workers:
            if worker.returncode is None:
                worker.kill()
            await worker.wait()

    async def _start_clients(self, stack: Stack) -> list[Path]:
        """One process for each kind of client; both are there when this returns. Their ledgers."""
        pause = len(self._people) / self._settings.rate
        shared = {
            "seed": self._settings.seed, "places": [asdict(place) for place in self._places],
            "users": [person["user"] for person in self._people], "url": stack.url,
            "auths": [service.url for name, service in stack.services.items() if name.startswith("auth")],
            "habits": asdict(Habits(pause, self._settings.churn, amending=self._settings.amending)),
        }  # fmt: skip
        files: list[Path] = []
        for kind in ("python", "js"):
            people = [person for person in self._people if person["clients"][0] == kind]
            if not people:
                continue
            file = self._directory / f"{kind}.jsonl"
            specification = self._directory / f"{kind}.json"
            specification.write_text(json.dumps({**shared, "people": people, "ledger": str(file)}))
            with (self._directory / f"{kind}.log").open("wb") as log:
                self._workers.append(
                    await asyncio.create_subprocess_exec(
                        sys.executable, "-m", "tests.chaos.load", str(specification), cwd=ROOT,
                        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=log,
                    )
                )  # fmt: skip
            files.append(file)
        await self._told("", ANSWER_SECONDS)
        return files

    async def _told(self, order: str, timeout: float) -> None:
        """Tell all processes of clients, and wait until they have done it. What one that died wrote is judged."""
        for worker in self._workers:
            assert worker.stdin is not None
            if order and worker.returncode is None:
                worker.stdin.write(order.encode() + b"\n")
        if timeout:
            async with asyncio.timeout(timeout):
                for worker in self._workers:
                    assert worker.stdout is not None
                    await worker.stdout.readline()

    async def _trouble(self, stack: Stack, ledger: Ledger, faults: Faults) -> None:
        """Make the faults while people talk, and heal what is left of them."""
        until = time.monotonic() + self._settings.seconds
        over = asyncio.Event()
        auths = [service.url for name, service in stack.services.items() if name.startswith("auth")]
        culprits = [person["user"] for person in self._people[-3:]]
        moderator = Moderator(auths, culprits, ledger, self._dice)
        moderating = asyncio.create_task(moderator.work(over, self._settings.moderation or 1e9))
        await faults.play(self._schedule, self._settings.seconds)
        await asyncio.sleep(max(0.0, until - time.monotonic()))
        over.set()
        faults.deaths += [f"{name} ended by itself" for name, part in stack.parts.items() if not part.running]
        await stack.healed()
        await moderating
        await moderator.pardon()

    async def _nothing_new(self, files: Sequence[Path]) -> None:
        """Wait until everything has arrived."""
        deadline = time.monotonic() + STILL_AT_MOST
        sizes, since = [0], time.monotonic()
        while time.monotonic() < deadline and time.monotonic() - since < STILL:
            now = [file.stat().st_size for file in files]
            if now != sizes:
                sizes, since = now, time.monotonic()
            await asyncio.sleep(0.1)

    async def _room(self, stack: Stack, place: Place) -> Room:
        """What the API says of a room, to its owner: the log by one chat, what is derived from it by the other."""
        first, second = (stack.services[f"chat{number}"].url for number in (1, 2))
        headers = {"Authorization": f"Bearer {issued(place.owner)}"}

        async def asked(url: str, **query: Any) -> dict[str, Any]:
            answer = await self._http.get(url, params=query, headers=headers)
            return answer.raise_for_status().json()

        async def pages(url: str, **query: Any) -> list[Any]:
            events: list[Any] = []
            after, more = 0, True
            while more:
                page = await asked(f"{url}/api/rooms/{place.id}/messages", after=after, limit=200, **query)
                events += page["events"]
                more = page["more"]
                after = events[-1]["sequence"] if query else page.get("after", 0)
            return events

        log = [logged(event) for event in await pages(first, raw="true")]
        messages = [event for event in await pages(second) if event["type"] == "message.sent"]
        room = (await asked(f"{second}/api/rooms/{place.id}"))["room"]
        listed = (await asked(f"{second}/api/rooms/{place.id}/members", limit=1000))["members"]
        members = {member["id"]: Member(member["state"], member["role"]) for member in listed}
        return Room(log, room["head"], room["members"], members, place.private, messages)

    async def _finds(self, stack: Stack, text: str, room: str) -> bool:
        """Whether the owner of a room finds a text."""
        owner = next(place.owner for place in self._places if place.id == room)
        answer = await self._http.get(
            f"{stack.services['chat1'].url}/api/search", params={"query": text},
            headers={"Authorization": f"Bearer {issued(owner)}"},
        )  # fmt: skip
        return bool(answer.raise_for_status().json()["messages"])


async def _notified(database_url: str) -> dict[str, dict[int, str]]:
    """The ids of all notifications, by the users' own rooms and by their sequences."""
    found: defaultdict[str, dict[int, str]] = defaultdict(dict)
    connection = await asyncpg.connect(database_url)
    try:
        statement = "SELECT user_id, sequence, event_id FROM chat.notifications"
        for user_id, sequence, event_id in await connection.fetch(statement):
            found[f"user:{user_id}"][sequence] = str(event_id)
    finally:
        await connection.close()
    return found


async def play(settings: Settings, schedule: Sequence[Fault], directory: Path) -> Outcome:
    """Start everything, play, and end it."""
    stack = await asyncio.to_thread(Stack, settings.layout, directory)
    async with stack.running():
        run = Run(settings, schedule, directory)
        try:
            return await run.play(stack)
        finally:
            await run.end()
