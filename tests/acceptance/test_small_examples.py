"""examples/small as its users have it: the programs as they are, on a running stack; each is less than 60 lines."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from parley.testing import FakeNamespace
from tests.support.clients.bots import make_bot
from tests.support.clients.conversation import make_room, ok
from tests.support.clients.people import AnyStack, People
from tests.support.paths import ROOT

EXAMPLES = ROOT / "examples" / "small"


@contextmanager
def program(name: str, *arguments: str, token: str) -> Generator[subprocess.Popen[str]]:
    running = subprocess.Popen(
        [sys.executable, str(EXAMPLES / name), *arguments], env=os.environ | {"PARLEY_TOKEN": token}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        yield running
    finally:
        running.kill()
        running.communicate()


def module(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = loaded
    spec.loader.exec_module(loaded)
    return loaded


def test_they_are_short():
    programs = sorted(EXAMPLES.glob("*.py"))
    assert len(programs) == 4
    for path in programs:
        assert len(path.read_text().splitlines()) < 60, path.name


async def test_the_support_desk_greets_answers_and_fetches_a_person(people: People, stack: AnyStack):
    customer, _ = await people.join("customer")
    agent, agent_account = await people.join("agent")
    bot = await people.account("desk")
    arguments = (stack.gateways[1].url, agent_account["user_id"])
    with program("support_desk.py", *arguments, token=bot["access_token"]) as running:
        room = await make_room(customer)
        joined = False
        while not joined:
            # It may not be connected yet, and an invitation that it was not there for does not wake it.
            assert running.poll() is None, running.communicate()
            await ok(customer, "room.invite", room=room, user={"id": bot["user_id"]})
            joined = await _within(2, lambda: any("human" in body for body in customer.bodies(room)))
        await ok(customer, "message.send", room=room, body="What are your HOURS?")
        await customer.until(lambda: "weekdays" in customer.bodies(room)[-1], "an answer")
        assert customer.logged(room)[-1]["data"]["reply_to"] == customer.logged(room)[-2]["sequence"]
        await ok(customer, "message.send", room=room, body="I want a human!")
        await agent.until(lambda: room in {event["room"] for event in agent.of("member.invited")}, "the agent")
        assert customer.bodies(room).count(customer.bodies(room)[0]) == 1, "greeted once"


async def test_the_dice_bot_answers_its_slash_command_to_all_or_to_who_asks(people: People, stack: AnyStack):
    ann, _ = await people.join("ann", gateway=stack.gateways[0])
    ben, _ = await people.join("ben", gateway=stack.gateways[0])
    bot = await make_bot(people, stack, "Dice")
    room = await make_room(ann, ben)
    with program("dice_bot.py", stack.gateways[1].url, token=bot.key) as running:
        offered: list[Any] = []
        for _ in range(20):
            # It may not be connected yet; it looks for invitations when it is.
            assert running.poll() is None, running.communicate()
            await ok(ann, "room.invite", room=room, user={"id": bot.id})
            if await _within(2, lambda: any(one["data"]["user"]["id"] == bot.id for one in joins(ann, room))):
                offered = (await ok(ann, "commands", room=room))["commands"]
            if offered:
                break
        else:
            running.kill()
            pytest.fail(f"it offers nothing: {running.communicate()}")
        assert [one["name"] for one in offered] == ["roll"]
        await ok(ann, "command.invoke", room=room, name="roll", options={"sides": 20})
        await ben.until(lambda: len(ben.bodies(room)) == 1, "everybody sees it")
        assert ben.bodies(room)[0].endswith(" of 20")
        await ok(ann, "command.invoke", room=room, name="roll", options={"secret": True})
        await ann.until(lambda: any("of 6" in one.get("body", "") for one in ann.of("invocation")), "only Ann sees it")
        assert len(ben.bodies(room)) == 1


def joins(client: Any, room: str) -> list[dict[str, Any]]:
    return [event for event in client.logged(room) if event["type"] == "member.joined"]


async def _within(seconds: float, condition: Any) -> bool:
    try:
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.05)
    except TimeoutError:
        return False
    return True


async def test_a_notification_is_sent_once_however_often_it_is_run(people: People, stack: AnyStack):
    client, account = await people.join("shop")
    room = await make_room(client)

    async def run(*arguments: str) -> tuple[int | None, str, str]:
        with program("notify.py", *arguments, "--url", stack.chats[0].url, token=account["access_token"]) as running:
            told = await asyncio.to_thread(running.communicate)
            return running.returncode, *told

    for _ in range(2):
        assert await run(room, "Order 1042 was shipped", "--id", "order-1042") == (0, f"message 1 of {room}\n", "")
    await client.until(lambda: client.bodies(room) == ["Order 1042 was shipped"], "it")
    code, _, error = await run("rnowhere", "x", "--id", "y")
    assert (code, error) == (1, "not_found: There is no such room.\n")


async def test_the_live_poll_counts_one_vote_of_each_and_shows_it_to_all():
    example = module("live_poll")
    async with FakeNamespace(example.service, state=example.Poll()) as poll:
        ann, phone, ben = [await poll.connect(user) for user in ("ann", "ann", "ben")]
        assert await ann.event("poll") == [{"question": "Tabs or spaces?", "votes": {"tabs": 0, "spaces": 0}}]
        assert await ann.emit("vote", "tabs") == {"ok": True}
        assert await phone.emit("vote", "spaces") == {"ok": True}
        assert await ben.emit("vote", "spaces") == {"ok": True}
        for connection in (ann, phone, ben):
            assert connection.received[-1][1][0]["votes"] == {"tabs": 0, "spaces": 2}
        for wrong in ("vi", 7, None, "x" * 10_000):
            assert (await ben.emit("vote", wrong))["error"]["code"] == "invalid_payload"
        assert len(ben.received) == 4


@pytest.fixture(autouse=True)
def _clean_modules() -> Iterator[None]:
    yield
    sys.modules.pop("example_live_poll", None)
