"""One case: somebody sends something, and the answer is looked at."""

from __future__ import annotations

import json
from collections import Counter
from random import Random
from typing import Any
from urllib.parse import quote

import httpx

from parley.common.errors import MEANINGS, Code
from tests.fuzz.api.documents import Endpoint, Event, Surface
from tests.fuzz.api.people import Person, Pool
from tests.fuzz.api.values import BAITS, Generator, bent, text_of

SECONDS = 45.0
"""For which an answer is waited for; the machine may be busy."""
LARGEST = 300_000
"""Bytes of a payload: more than is allowed, and less than what may end a connection."""
BENT = 0.4
"""The share of payloads that are made wrong; of the others most are refused for the state that things are in."""
ENDINGS = ("room.archive", "/archive", "room.permissions", "/permissions", "erase", "member.ban", "room.transfer")
"""What others can do little after, so it is rarer."""
NEVER = {Code.INTERNAL, Code.TIMEOUT, Code.UNAVAILABLE}
"""What nothing that a client sends may lead to while everything runs."""
PATHS = [
    "%00", "%ED%A0%80", "%F0%9F%98%80", "..%2f..%2fetc", "a%0Ab", "a%0A", "%25", "9" * 18, "9" * 5000, "-1", "1.0", "0",
    "%D9%A1", "+1", "a" * 300, "%FF", "", "user:x", "%20", "00000000-0000-0000-0000-000000000000",
]  # fmt: skip
"""Parts of paths, as they are on the line."""
BODIES = [b"", b"null", b"[]", b"{", b"\xff\xfe", b"\xef\xbb\xbf{}", b"{}" * 2, b'{"a":"\xed\xa0\x80"}', b"{" * 3000]
FILES = [
    b"", b"\x89PNG\r\n\x1a\n" + b"\x00" * 64, b"GIF89a/*<script>alert(1)</script>*/=1", b"%PDF-1.7\n<html>",
    b"<svg onload=alert(1)>", b"PK\x03\x04" + b"\x00" * 60, b"\xff\xd8\xff\xe0" + b"\xff" * 100, b"MZ", b"x" * 70_000,
]  # fmt: skip


class Finding(AssertionError):
    """An answer that should not have been."""


class Calls:
    """Sends what the documents describe, in any state of the world."""

    def __init__(self, surface: Surface, people: list[Person], http: httpx.AsyncClient, random: Random) -> None:
        self.pool = Pool()
        self.answers: Counter[str] = Counter()
        self._surface = surface
        self._people = people
        self._http = http
        self._random = random
        self._generator = Generator(surface.definitions, self.pool.pick)

    async def one(self, random: Random) -> None:
        """Send something. Raises `Finding`."""
        choices: list[Event | Endpoint] = [*self._surface.events, *self._surface.endpoints]
        who = random.choice(self._people)
        chosen = random.choice(choices)
        if any(end in str(chosen) for end in ENDINGS) and random.random() < 0.8:
            return
        match chosen:
            case Event() as event:
                await self.emit(who, event, random)
            case Endpoint() as endpoint:
                await self.request(who, endpoint, random)

    async def emit(self, who: Person, event: Event, random: Random) -> None:
        """Emit an event, right or wrong."""
        payload = self._generator.value(event.payload, random)
        if random.random() < BENT:
            payload = bent(payload, random)
        said = text_of(payload, random)
        if len(said.encode()) > LARGEST:
            return
        try:
            answer = await who.emit(event.name, said, SECONDS)
        except (TimeoutError, ConnectionError) as error:
            raise Finding(f"{who.name} {event.name} {said[:600]}: {error!r}") from error
        self._judge(f"{who.name} {event.name} {said[:600]}", event.name, answer)
        self.pool.learn(answer, random)

    async def request(self, who: Person, endpoint: Endpoint, random: Random) -> None:
        """Make a request, right or wrong."""
        path, query = endpoint.path, list[tuple[str, str]]()
        for parameter in endpoint.parameters:
            name, where = parameter["name"], parameter["in"]
            value = self._generator.value(parameter["schema"], random, name)
            wrong = random.random() < 0.12
            if where == "path":
                part = random.choice(PATHS) if wrong else quote(str(value), safe="")
                path = path.replace("{" + name + "}", part)
            elif where == "query" and (parameter.get("required") or random.random() < 0.4):
                bait = random.choice(BAITS)
                query.append((name, str(bait if wrong else value).encode("utf-8", "replace").decode()[:3000]))
        content: bytes | None = None
        if endpoint.bytes_wanted:
            content = random.choice(FILES)
        elif endpoint.body is not None and random.random() < 0.97:
            payload = self._generator.value(endpoint.body, random)
            if random.random() < BENT:
                payload = bent(payload, random)
            content = text_of(payload, random).encode("utf-8", "replace")
            if random.random() < 0.03 or len(content) > LARGEST:
                content = random.choice(BODIES)
        address = f"{endpoint.base}{path}"
        if query:
            address += "?" + "&".join(f"{quote(name)}={quote(value)}" for name, value in query)
        headers = {"authorization": f"Bearer {who.token}"} | ({"content-type": "application/json"} if content else {})
        shown = f"{who.name} {endpoint.method} {address[:700]} {(content or b'')[:600]!r}"
        try:
            answer = await self._http.request(endpoint.method, address, content=content, headers=headers)
        except httpx.HTTPError as error:
            raise Finding(f"{shown}: {error!r}") from error
        self._judge_response(shown, f"{endpoint.method} {endpoint.path}", answer)
        if answer.status_code == 200 and answer.headers.get("content-type") == "application/json":
            self.pool.learn(answer.json(), random)

    def _judge_response(self, shown: str, name: str, answer: httpx.Response) -> None:
        if answer.status_code < 400 or answer.status_code == 416:
            self.answers[f"{name} ok"] += 1
            return
        try:
            said = answer.json()
        except ValueError as error:
            if "/backchannel-logout" in name and answer.status_code == 400:
                return
            raise Finding(f"{shown}: {answer.status_code} {answer.text[:300]!r}") from error
        self._judge(shown, name, said)
        expected = MEANINGS[Code(said["error"]["code"])].status
        if answer.status_code not in {expected, 431}:
            raise Finding(f"{shown}: status {answer.status_code}, {said}")

    def _judge(self, shown: str, name: str, answer: Any) -> None:
        match answer:
            case {"ok": True}:
                self.answers[f"{name} ok"] += 1
            case {"ok": False, "error": {"code": code, "message": str(), "retryable": bool()}}:
                if code in NEVER or code not in set(Code):
                    raise Finding(f"{shown}: {json.dumps(answer)[:600]}")
                if "Traceback" in str(answer) or 'File "' in str(answer):
                    raise Finding(f"{shown}: tells of its insides: {json.dumps(answer)[:600]}")
                self.answers[f"{name} {code}"] += 1
            case _:
                raise Finding(f"{shown}: no answer of the protocol: {json.dumps(answer)[:600]}")
