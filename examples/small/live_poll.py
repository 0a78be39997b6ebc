"""A live poll: everybody votes once and may change their mind, and all see the count as it changes.

The votes are in memory, so run one replica of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from parley.framework import Code, Context, Reject, Router, Runtime, Service


@dataclass
class Poll:
    """A question, its choices, and what each user has voted for."""

    question: str = "Tabs or spaces?"
    choices: tuple[str, ...] = ("tabs", "spaces")
    votes: dict[str, str] = field(default_factory=dict[str, str])

    def shown(self) -> dict[str, object]:
        """The poll as everybody sees it."""
        count = Counter(self.votes.values())
        return {"question": self.question, "votes": {choice: count[choice] for choice in self.choices}}


router: Router[Poll] = Router("/poll")


@router.on("connect")
async def connect(context: Context[Poll], _recovered: bool) -> None:
    """Show the poll to who comes."""
    await context.emit("poll", context.state.shown())


@router.on("vote")
async def vote(context: Context[Poll], choice: str) -> None:
    """Count a user's vote, however many connections they have."""
    if choice not in context.state.choices:
        raise Reject(Code.INVALID_PAYLOAD, f"One of {', '.join(context.state.choices)}.")
    context.state.votes[context.identity.user_id] = choice
    await context.everybody.emit("poll", context.state.shown())


@asynccontextmanager
async def lifespan(_runtime: Runtime) -> AsyncGenerator[Poll]:
    """Open the poll."""
    yield Poll()


service = Service("poll", router, lifespan=lifespan)
