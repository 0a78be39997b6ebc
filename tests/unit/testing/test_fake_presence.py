"""Who is there in a fake namespace, as an adopter tests it: at once, and without a network."""

from __future__ import annotations

from parley.testing import FakeConnection, FakeNamespace
from tests.support.services.lounge import service


def changes(connection: FakeConnection) -> list[dict[str, str]]:
    """What a connection was told of, in order: each change by user."""
    told = [received.args[0]["users"] for received in connection.received if received.event == "presence"]
    return [{user["id"]: user["state"] for user in users} for users in told]


async def test_everybody_at_a_table_sees_who_comes_goes_and_is_away():
    async with FakeNamespace(service) as lounge:
        ann, ben = await lounge.connect("ann"), await lounge.connect("ben")
        await ann.emit("enter", "1")
        answer = await ann.emit("who", "1")
        assert answer == {"ok": True, "users": [{"id": "ann", "state": "online"}], "count": 1}
        await ben.emit("enter", "1")
        await ben.emit("idle", True)
        await ben.emit("idle", False)
        await ben.disconnect()
        assert changes(ann) == [{"ben": "online"}, {"ben": "away"}, {"ben": "online"}, {"ben": "offline"}]


async def test_a_user_counts_once_and_is_what_was_chosen_as_long_as_any_connection_lasts():
    async with FakeNamespace(service) as lounge:
        ann, phone, desk = await lounge.connect("ann"), await lounge.connect("ben"), await lounge.connect("ben")
        for connection in (ann, phone, desk):
            await connection.emit("enter", "1")
        assert (await ann.emit("who", "1"))["count"] == 2
        await phone.emit("idle", True)
        await phone.emit("be", "dnd")
        await phone.disconnect()
        await desk.emit("be", "automatic")
        await desk.emit("leave", "1")
        assert changes(ann) == [{"ben": "dnd"}, {"ben": "online"}, {"ben": "offline"}]


async def test_who_reads_too_slowly_misses_changes_and_who_looks_at_too_much_is_refused():
    async with FakeNamespace(service) as lounge:
        ann, ben = await lounge.connect("ann"), await lounge.connect("ben")
        for number in range(101):
            await ann.emit("enter", f"{number}")
        answers = [await ann.emit("who", f"{number}") for number in range(101)]
        assert [answer["ok"] for answer in answers] == [True] * 100 + [False]
        assert answers[-1]["error"]["code"] == "limit_exceeded"
        ann.congested = True
        await ben.emit("enter", "1")
        assert changes(ann) == []


async def test_who_names_a_choice_at_connect_is_never_shown_otherwise():
    async with FakeNamespace(service) as lounge:
        ann = await lounge.connect("ann")
        await ann.emit("enter", "1")
        assert (await ann.emit("who", "1"))["count"] == 1
        shy = await lounge.connect("shy", auth={"presence": "invisible"})
        await shy.emit("enter", "1")
        assert changes(ann) == []
        busy = await lounge.connect("busy", auth={"presence": "dnd"})
        await busy.emit("enter", "1")
        assert await ann.event("presence") == [
            {"room": "table:1", "users": [{"id": "busy", "state": "dnd"}], "count": 2}
        ]


async def test_who_asks_once_is_told_who_is_in_rooms_and_nothing_of_what_changes():
    async with FakeNamespace(service) as lounge:
        ann, shy = await lounge.connect("ann"), await lounge.connect("shy", auth={"presence": "invisible"})
        for connection in (ann, shy):
            await connection.emit("enter", "1")
        told = {"1": {"users": {"ann": "online"}, "partial": False}, "2": {"users": {}, "partial": False}}
        assert await shy.emit("there", ["1", "2"]) == {"ok": True, "rooms": told}
        await ann.emit("be", "dnd")
        assert changes(shy) == []
