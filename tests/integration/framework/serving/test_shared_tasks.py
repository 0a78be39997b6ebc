"""Connections share a task while their controllers do not wait, and none of them notices."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar

from parley.framework import Context, Router
from tests.support.framework.calling import Book, Caller, Say, running_service

WHO: ContextVar[str] = ContextVar("who", default="nobody")


async def test_who_does_not_wait_shares_a_task_and_who_has_waited_never_again(
    nats_url: str, caller: Caller, namespace: str
):
    router: Router[Book] = Router(namespace)
    waits = False

    @router.on("say")
    async def say(_context: Context[Book], _payload: Say) -> dict[str, int]:
        task = asyncio.current_task()
        if waits:
            await asyncio.sleep(0)
        return {"task": id(task)}

    async with running_service(nats_url, router, state=Book()):
        await caller.send(*(caller.says(str(n)) for n in range(10)))
        assert len({answer["task"] for answer in await caller.acked(10)}) == 1
        waits = True
        await caller.send(*(caller.says(str(n)) for n in range(10)))
        assert len({answer["task"] for answer in (await caller.acked(20))[10:]}) == 10
        waits = False
        await caller.send(*(caller.says(str(n)) for n in range(10)))
        assert len({answer["task"] for answer in (await caller.acked(30))[20:]}) == 10


async def test_what_a_controller_leaves_in_its_context_is_seen_by_no_other_connection(
    nats_url: str, caller: Caller, namespace: str
):
    router: Router[Book] = Router(namespace)

    @router.on("say")
    async def say(_context: Context[Book], payload: Say) -> dict[str, str]:
        before = WHO.get()
        WHO.set(payload.text)
        return {"before": before}

    async with running_service(nats_url, router, state=Book()):
        for sent in (10, 20):
            await caller.send(*(caller.says(str(n)) for n in range(10)))
            assert {answer["before"] for answer in await caller.acked(sent)} == {"nobody"}


async def test_a_controller_that_cancels_its_own_task_takes_no_other_connection_with_it(
    nats_url: str, caller: Caller, namespace: str
):
    router: Router[Book] = Router(namespace)

    @router.on("say")
    async def say(_context: Context[Book], payload: Say) -> dict[str, str]:
        if payload.text == "3":
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
        elif payload.text == "4":
            await asyncio.sleep(0)
        return {"said": payload.text}

    async with running_service(nats_url, router, state=Book()):
        await caller.send(*(caller.says(str(n)) for n in range(8)))
        answers = await caller.acked(8)
        assert [a.get("said") for a in answers] == [str(n) for n in range(8)]
