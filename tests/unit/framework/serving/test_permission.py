"""Events are refused to who may read only, and to API keys that are for something else; `writes=False` marks a read."""

from __future__ import annotations

import pytest

from parley.framework import Context, Router
from parley.testing import FakeNamespace

router: Router[None] = Router("/dice")
rolled: list[str] = []


@router.on("roll")
async def roll(context: Context[None]) -> None:
    """Write something."""
    rolled.append(context.identity.user_id)


@router.on("put")
def put(context: Context[None]) -> None:
    """Write something without a task."""
    rolled.append(context.identity.user_id)


@router.on("look", writes=False)
async def look(context: Context[None]) -> dict[str, int]:
    """Read something."""
    return {"rolls": len(rolled)}


@router.on("hide", own=True)
async def hide(context: Context[None]) -> None:
    """Write what is one's own."""


async def outcomes(suspended: bool = False, scopes: tuple[str, ...] | None = None) -> list[str]:
    """What becomes of each event: `ok` or a code."""
    async with FakeNamespace(router) as namespace:
        client = await namespace.connect("ann", suspended=suspended, scopes=scopes)
        answers = [await client.emit(event) for event in ("roll", "put", "look", "hide")]
    return ["ok" if answer["ok"] else answer["error"]["code"] for answer in answers]


@pytest.mark.parametrize(
    ("suspended", "scopes", "expected"),
    [
        (False, None, ["ok", "ok", "ok", "ok"]),
        (True, None, ["suspended", "suspended", "ok", "ok"]),
        (False, ("dice:read",), ["forbidden", "forbidden", "ok", "forbidden"]),
        (False, ("dice:write",), ["ok", "ok", "forbidden", "ok"]),
        (False, ("chat:read", "chat:write"), ["forbidden", "forbidden", "forbidden", "forbidden"]),
    ],
)
async def test_each_event_is_for_who_may_send_it(suspended: bool, scopes: tuple[str, ...] | None, expected: list[str]):
    rolled.clear()
    assert await outcomes(suspended, scopes) == expected
    assert rolled == ["ann"] * expected[:2].count("ok")
