"""Sends mail in the background: a bounded number waits, and what fails for a reason that may pass is tried again.

| outcome | when |
|---|---|
| `sent` | the server took it |
| `refused` | the server said that it never will |
| `expired` | it could not be handed over while it was worth anything |
| `dropped` | as many wait as may |
| `off` | there is no server |

What waits is in this process's memory: a stop loses it, and its reader asks for another one.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from email.message import EmailMessage
from typing import NamedTuple, Protocol

from parley.auth.mail.letters import Letter, message
from parley.auth.metrics import MAILS
from parley.common.process.logs import get_logger
from parley.common.process.tasks import Tasks

log = get_logger(__name__)

MAX_WAITING = 1_000
AT_ONCE = 4
"""Conversations with the server at a time."""
PAUSES = (1.0, 5.0, 30.0, 120.0, 600.0)
"""Seconds before each further try; the last one again and again."""


class Undeliverable(Exception):
    """The server refuses a mail for good; the text is its reply code."""


class MailDelivery(Protocol):
    """A way out. `prints` says that mail goes no further than the console."""

    @property
    def prints(self) -> bool:
        """Whether a mail goes no further than the console."""
        ...

    async def deliver(self, message: EmailMessage) -> None:
        """Hand a mail over. Raises `Undeliverable`, or `OSError` for what may pass."""
        ...


class _Waiting(NamedTuple):
    due: float
    number: int
    """In the order in which they came, so that no two are alike."""
    expires: float
    tries: int
    mail: EmailMessage


class Mailer:
    """Takes letters and sees to it that they are sent. `delivery` is None where there is no way."""

    def __init__(self, delivery: MailDelivery | None, sender: str) -> None:
        self._delivery = delivery
        self._sender = sender
        self._waiting: list[_Waiting] = []
        self._under_way = 0
        self._news = asyncio.Event()
        self._numbers = itertools.count()

    def __len__(self) -> int:
        return len(self._waiting) + self._under_way

    @property
    def on(self) -> bool:
        """Whether there is a way for mail to go."""
        return self._delivery is not None

    @property
    def prints(self) -> bool:
        """Whether mail goes no further than the console."""
        return self._delivery is not None and self._delivery.prints

    def send(self, recipient: str, letter: Letter) -> bool:
        """Have a letter sent. False if it is dropped, which is counted and logged."""
        if self._delivery is None or len(self) >= MAX_WAITING:
            MAILS.labels("off" if self._delivery is None else "dropped").inc()
            log.warning("a mail is not sent", subject=letter.subject, waiting=len(self))
            return False
        now = time.monotonic()
        # Made now and not when it is sent: what does not fit a mail fails where somebody asked for it.
        mail = message(self._sender, recipient, letter)
        heapq.heappush(self._waiting, _Waiting(now, next(self._numbers), now + letter.good_for, 0, mail))
        self._news.set()
        return True

    async def run(self) -> None:
        """Send what is due, for ever."""
        async with Tasks() as tasks:
            while True:
                self._news.clear()
                now = time.monotonic()
                while self._waiting and self._waiting[0].due <= now and self._under_way < AT_ONCE:
                    self._under_way += 1
                    tasks.spawn(self._try(heapq.heappop(self._waiting)), name="a mail")
                # With all conversations under way, the end of one is the next news.
                busy = not self._waiting or self._under_way >= AT_ONCE
                pause = None if busy else max(0.0, self._waiting[0].due - now)
                try:
                    await asyncio.wait_for(self._news.wait(), pause)
                except TimeoutError:
                    continue

    async def _try(self, waiting: _Waiting) -> None:
        try:
            await self._deliver(waiting)
        finally:
            self._under_way -= 1
            self._news.set()

    async def _deliver(self, waiting: _Waiting) -> None:
        if self._delivery is None:
            return
        try:
            await self._delivery.deliver(waiting.mail)
        except Undeliverable as refused:
            # Whom it was for is nobody's business in a log.
            MAILS.labels("refused").inc()
            log.warning("a mail was refused", subject=waiting.mail["Subject"], answer=str(refused))
        except OSError as error:
            # Also a greeting that is refused or a full disk over there (RFC 5321, 4.2.1: 4yz is for now).
            self._again(waiting, error)
        else:
            MAILS.labels("sent").inc()

    def _again(self, waiting: _Waiting, error: OSError) -> None:
        pause = PAUSES[min(waiting.tries, len(PAUSES) - 1)]
        due = time.monotonic() + pause
        # A link that is dead on arrival only confuses; whoever wants one asks again.
        if due >= waiting.expires:
            MAILS.labels("expired").inc()
            log.warning("a mail could not be sent in time", subject=waiting.mail["Subject"], error=str(error))
            return
        log.warning("a mail is tried again", subject=waiting.mail["Subject"], error=str(error), seconds=pause)
        heapq.heappush(self._waiting, waiting._replace(due=due, tries=waiting.tries + 1))
