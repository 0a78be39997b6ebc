"""An administrator who kicks somebody now and then, or bans them for a while."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any

import httpx

from tests.acceptance.stack import ADMIN_PASSWORD
from tests.chaos.ledger import Ledger

BANNED_SECONDS = 2.0


class Moderator:
    """Asks whichever auth answers."""

    def __init__(self, auths: list[str], users: list[str], ledger: Ledger, dice: random.Random) -> None:
        self._auths = auths
        self._users = users
        self._ledger = ledger
        self._dice = dice
        self._tokens: dict[str, str] = {}
        self._http = httpx.AsyncClient(timeout=4)

    async def work(self, over: asyncio.Event, pause: float) -> None:
        """Go on until it is over; nobody is banned then."""
        while not over.is_set():
            try:
                await asyncio.wait_for(over.wait(), self._dice.expovariate(1 / pause))
            except TimeoutError:
                user = self._dice.choice(self._users)
                await (self._kick if self._dice.random() < 0.5 else self._ban)(user, over)
        await self._http.aclose()

    async def _kick(self, user: str, over: asyncio.Event) -> None:
        began = time.monotonic()
        answer = await self._asked(f"/users/{user}/kick", over, reason="loud")
        answered = time.monotonic()
        self._note(user, answer, began, answered, answered)

    async def _ban(self, user: str, over: asyncio.Event) -> None:
        began = time.monotonic()
        answer = await self._asked(f"/users/{user}/ban", over, reason="spam")
        answered = time.monotonic()
        await asyncio.sleep(BANNED_SECONDS)
        lifted = time.monotonic()
        await self._asked(f"/users/{user}/unban", None)
        self._note(user, answer, began, answered, lifted)

    def _note(self, user: str, answer: dict[str, Any] | None, began: float, answered: float, lifted: float) -> None:
        self._ledger.write(
            "ban", user=user, began=began, answered=answered, lifted=lifted, over=time.monotonic(),
            unanswered=answer is None or bool(answer["unanswered"]), sure=answer is not None,
        )  # fmt: skip

    async def _asked(self, path: str, over: asyncio.Event | None, **body: Any) -> dict[str, Any] | None:
        """The answer to a request that is sent until it is answered; without one, none if it is over meanwhile."""
        while over is None or not over.is_set():
            auth = self._dice.choice(self._auths)
            try:
                if not self._tokens.get(auth):
                    login = {"username": "admin", "password": ADMIN_PASSWORD}
                    answer = await self._http.post(f"{auth}/auth/login", json=login)
                    self._tokens[auth] = answer.json().get("access_token", "")
                headers = {"Authorization": f"Bearer {self._tokens[auth]}"}
                answer = await self._http.post(f"{auth}/admin{path}", json=body, headers=headers)
            except (httpx.HTTPError, ValueError):
                await asyncio.sleep(0.2)
                continue
            if answer.status_code < 300:
                return answer.json()
            if answer.status_code == 401:
                self._tokens[auth] = ""
            await asyncio.sleep(0.2)
        return None
