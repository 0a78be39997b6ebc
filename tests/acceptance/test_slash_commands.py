"""Slash commands of bots, with stock clients at two gateways and two chats."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from tests.support.clients.bots import make_bot
from tests.support.clients.conversation import code, command, make_room, ok
from tests.support.clients.people import KINDS, AnyStack, People

POLL = {
    "name": "poll",
    "description": "Ask everybody",
    "options": [
        {"name": "question", "type": "string", "required": True},
        {"name": "days", "type": "integer"},
        {"name": "kind", "type": "string", "choices": ["open", "secret"]},
        {"name": "chair", "type": "user"},
    ],
}


def set_commands(client: Any, *names: str, **where: Any) -> Any:
    return client.emit("commands.set", {"commands": [{"name": name} for name in names], **where})


@pytest.mark.parametrize("kind", KINDS)
async def test_a_bot_is_asked_and_answers_the_room_or_the_user_alone(people: People, stack: AnyStack, kind: str):
    ann, account = await people.join("ann", kind=kind, gateway=stack.gateways[0])
    ben, _ = await people.join("ben", kind=kind, gateway=stack.gateways[1])
    bot = await make_bot(people, stack, "Pollster", kind=kind, gateway=stack.gateways[1])
    room = await make_room(ann, ben, bot.client)
    assert (await bot.client.emit("commands.set", {"commands": [POLL]}))["ok"]
    (offered,) = (await ann.emit("commands", {"room": room, "prefix": "po"}))["commands"]
    assert (offered["name"], offered["bot"]["id"]) == ("poll", bot.id)
    assert [option["name"] for option in offered["options"]] == ["question", "days", "kind", "chair"]

    said = {"question": "Tea?", "days": 2, "kind": "open", "chair": account["user_id"]}
    asked = {"id": str(uuid.uuid4()), "room": room, "name": "poll", "options": said}
    ack = await ann.emit("command.invoke", asked)
    assert (ack["ok"], ack["state"]) == (True, "waiting"), ack
    await bot.client.until(lambda: bot.client.of("command.invoked"), "the bot is asked")
    (told,) = bot.client.of("command.invoked")
    assert (told["options"], told["user"]["id"], told["room"]) == (said, account["user_id"], room)
    # Asked again, as clients do whose ack was lost: nothing is asked twice.
    assert (await ann.emit("command.invoke", asked))["invocation"] == ack["invocation"]
    waiting = (await bot.client.emit("invocations", {}))["invocations"]
    assert [one["invocation"] for one in waiting] == [ack["invocation"]]

    answer = {"invocation": ack["invocation"], "body": "Tea? 0 of 2"}
    replied = await bot.client.emit("command.reply", answer)
    assert replied["ok"], replied
    assert (await bot.client.emit("command.reply", answer))["sequence"] == replied["sequence"], "sent once"
    for client in (ann, ben):
        await client.until(lambda c=client: c.bodies(room) == ["Tea? 0 of 2"], "the message")
    assert ben.logged(room)[-1]["data"]["data"]["command"]["invocation"] == ack["invocation"]
    await ann.until(lambda: ann.of("invocation"), "and who asked is told")
    assert (ann.of("invocation")[0]["state"], ann.of("invocation")[0]["sequence"]) == ("answered", replied["sequence"])
    assert code(await bot.client.emit("command.reply", {**answer, "only_you": True})) == "conflict"

    second = await ok(ann, "command.invoke", room=room, name="poll", options={"question": "Coffee?"})
    # A bot may do all of it over REST.
    headers, api = {"Authorization": f"Bearer {bot.key}"}, f"{stack.chats[1].url}/api"
    waiting = (await stack.http.get(f"{api}/me/invocations", headers=headers)).json()["invocations"]
    assert [one["options"] for one in waiting] == [{"question": "Coffee?"}]
    later = await stack.http.post(f"{api}/me/invocations/{second['invocation']}/defer", json={}, headers=headers)
    assert (later.status_code, later.json()["deferred"]) == (200, True), later.text
    private = {"invocation": second["invocation"], "body": "Nobody else wants any.", "only_you": True}
    assert (await bot.client.emit("command.reply", private))["ok"]
    await ann.until(lambda: any(one.get("only_you") for one in ann.of("invocation")), "the answer")
    assert ann.of("invocation")[-1]["body"] == "Nobody else wants any."
    assert ben.of("invocation") == []
    assert ben.bodies(room) == ["Tea? 0 of 2"]


async def test_who_may_not_write_may_not_ask_and_what_does_not_fit_is_refused(people: People, stack: AnyStack):
    ann, _ = await people.join("ann")
    ben, ben_account = await people.join("ben")
    eve, eve_account = await people.join("eve")
    bot, rival = await make_bot(people, stack, "Pollster"), await make_bot(people, stack, "Rival")
    room = await make_room(ann, ben, bot.client, rival.client)
    assert code(await set_commands(ann, "poll")) == "forbidden", "people offer none"
    assert code(await set_commands(bot.client, "poll", "poll")) == "already_exists"
    assert code(await set_commands(bot.client, *(f"c{n}" for n in range(51)))) == "invalid_payload"
    assert code(await set_commands(bot.client, "Not a name")) == "invalid_payload"
    hidden = (await ok(ann, "room.create", name="Hidden", kind="private"))["room"]["id"]
    assert code(await set_commands(bot.client, "poll", room=hidden)) == "not_found"
    wide = [{"name": f"o{n}", "type": "string", "choices": ["x" * 90, "y" * 90]} for n in range(25)]
    large = await bot.client.emit("commands.set", {"commands": [{"name": "large", "options": wide}]})
    assert code(large) == "payload_too_large"
    assert (await bot.client.emit("commands.set", {"commands": [POLL]}))["ok"]

    async def refusal(client: Any, name: str = "poll", **fields: Any) -> str:
        return code(await command(client, "command.invoke", room=room, name=name, **fields))

    for options in ({}, {"question": 1}, {"question": "a", "chair": eve_account["user_id"]}):
        assert await refusal(ann, options=options) == "invalid_payload", options
    fine = {"question": "Tea?"}
    assert await refusal(ann, options={"question": "x" * 20_000}) == "payload_too_large"
    assert await refusal(ann, name="unknown") == "not_found"
    assert await refusal(eve, options=fine) == "not_a_member"
    assert code(await eve.emit("commands", {"room": room})) == "not_a_member"
    await ok(ann, "member.mute", room=room, user=ben_account["user_id"])
    assert await refusal(ben, options=fine) == "muted"
    answer = {"invocation": str(uuid.uuid4()), "body": "x"}
    assert code(await bot.client.emit("command.reply", answer)) == "not_found"

    assert (await rival.client.emit("commands.set", {"commands": [POLL], "room": room}))["ok"]
    assert await refusal(ann, options=fine) == "conflict", "two bots have it"
    asked = await ok(ann, "command.invoke", room=room, name="poll", options=fine, bot=rival.id)
    assert code(await bot.client.emit("command.reply", {**answer, "invocation": asked["invocation"]})) == "not_found"
    await ok(rival.client, "room.leave", room=room)
    assert code(await rival.client.emit("command.reply", {**answer, "invocation": asked["invocation"]})) == (
        "not_a_member"
    )
    assert [one["bot"]["id"] for one in (await ann.emit("commands", {"room": room}))["commands"]] == [bot.id]
    # It left, so nobody answers: who asked is told.
    await ann.until(lambda: any(one["state"] == "expired" for one in ann.of("invocation")), "that it expired")
    await bot.delete(stack)
    assert (await ann.emit("commands", {"room": room}))["commands"] == []
    assert await refusal(ann, options=fine) == "not_found"
    # Each of the two chats lets ten through at once.
    assert "rate_limited" in [await refusal(ann, name="unknown") for _ in range(40)]
