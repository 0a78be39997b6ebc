"""An administrator who kicks somebody now and then, or bans them for a while."""

from __future__ import annotations

import asyncio
import math
import random
import time
from typing import Any

import httpx

from tests.chaos.ledger import Ledger
from tests.support.clients.plain_http import plain_http
from tests.support.stack.stack import ADMIN_PASSWORD

BANNED_SECONDS = 2.0


class Moderator:
    """Asks whichever auth answers."""

    def __init__(self, auths: list[str], users: list[str], ledger: Ledger, dice: random.Random) -> None:
        self._auths = auths
        self._users = users
        self._ledger = ledger
        self._dice = dice
        self._tokens: dict[str, str] = {}
        self._unsure: set[str] = set()
        self._doubtful: dict[str, float] = {}
        """Who may be banned at any time from then on."""
        self._http = plain_http(timeout=4)

    async def work(self, over: asyncio.Event, pause: float) -> None:
        """Go on until it is over."""
        while not over.is_set():
            try:
                await asyncio.wait_for(over.wait(), self._dice.expovariate(1 / pause))
            except TimeoutError:
                user = self._dice.choice(self._users)
                await (self._kick if self._dice.random() < 0.5 else self._ban)(user)

    async def pardon(self) -> None:
        """Lift whatever ban may stand, when all auths have answered what they were ever asked."""
        for user in self._users:
            await self._unban(user)
        for user, began in self._doubtful.items():
            self._ledger.write("fault", began=began, fault=f"whether {user} was banned could not be told")
        await self._http.aclose()

    async def _kick(self, user: str) -> None:
        began = time.monotonic()
        answer = await self._asked_once(f"/users/{user}/kick", reason="loud")
        answered = time.monotonic()
        self._note(user, answer, began, answered, answered)

    async def _ban(self, user: str) -> None:
        began = time.monotonic()
        answer = await self._asked_once(f"/users/{user}/ban", reason="spam")
        answered = time.monotonic()
        await asyncio.sleep(BANNED_SECONDS)
        lifted = time.monotonic()
        await self._unban(user)
        self._note(user, answer, began, answered, lifted)
        if answer is None:
            self._doubtful.setdefault(user, began)

    def _note(self, user: str, answer: dict[str, Any] | None, began: float, answered: float, lifted: float) -> None:
        # A request without an answer may lie with an auth that stands still, and be obeyed whenever that goes on.
        over = math.inf if answer is None else time.monotonic()
        self._ledger.write(
            "ban", user=user, began=began, answered=answered, lifted=lifted, over=over,
            unanswered=answer is None or bool(answer["unanswered"]),
            sure=answer is not None and user not in self._unsure,
        )  # fmt: skip

    async def _unban(self, user: str) -> None:
        """Lift a ban for certain. One that is asked twice may be done again in the middle of another ban."""
        while await self._asked_once(f"/users/{user}/unban") is None:
            self._unsure.add(user)
            await asyncio.sleep(0.2)

    async def _asked_once(self, path: str, **body: Any) -> dict[str, Any] | None:
        """The answer to a request; none if it failed, or nobody knows."""
        auth = self._dice.choice(self._auths)
        try:
            if not self._tokens.get(auth):
                login = {"username": "admin", "password": ADMIN_PASSWORD}
                answer = await self._http.post(f"{auth}/auth/login", json=login)
                self._tokens[auth] = answer.json().get("access_token", "")
            headers = {"Authorization": f"Bearer {self._tokens[auth]}"}
            answer = await self._http.post(f"{auth}/admin{path}", json=body, headers=headers)
        except (httpx.HTTPError, ValueError):
            return None
        if answer.status_code == 401:
            self._tokens[auth] = ""
        return answer.json() if answer.status_code < 300 else None
