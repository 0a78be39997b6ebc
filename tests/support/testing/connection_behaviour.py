"""What fake connections and stock clients have in common: tests that run with both."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from tests.support.bus import fresh
from tests.support.testing.lab import NAMESPACE, notes

Connect = Callable[..., Awaitable[Any]]
"""Lets a connection of a user in, fake or real."""


class ConnectionBehaviour:
    """What holds for fake connections and for stock clients alike; `connect` lets one in."""

    # -- events and acks -------------------------------------------------------------------------------------------

    async def test_a_controller_gets_typed_arguments_and_who_sent_them_and_its_result_is_the_ack(
        self, connect: Connect
    ):
        ann = await connect("ann", roles=("dealer",))
        assert await ann.emit("roll", 6) == {"ok": True, "sides": 6, "by": "ann", "roles": ["dealer"]}
        assert (await ann.emit("roll", "six"))["error"]["code"] == "invalid_payload"
        assert (await ann.emit("roll"))["error"]["code"] == "invalid_payload"
        assert (await ann.emit("nonsense"))["error"]["code"] == "unknown_event"

    async def test_what_is_answered_with_ack_arrives_as_it_is(self, connect: Connect):
        ann = await connect("ann")
        assert await ann.emit("echo") is None
        assert await ann.emit("echo", 5) == 5
        assert await ann.emit("echo", [b"\0\xff", {"deep": b""}], "text") == ([b"\0\xff", {"deep": b""}], "text")

    async def test_failures_carry_their_code_and_data_and_no_secret_and_the_error_controller_hears_of_them(
        self, connect: Connect
    ):
        ann = await connect("ann")
        error = (await ann.emit("refuse"))["error"]
        assert error == {"code": "limit_exceeded", "message": "enough", "retryable": False, "data": {"limit": 3}}
        failure = await ann.emit("fail")
        assert failure["error"]["code"] == "internal"
        assert "secret" not in str(failure)
        await notes.has(("error", "fail", "internal"))
        assert ("error", "refuse", "limit_exceeded") in notes.lines

    async def test_without_an_ack_a_failure_arrives_as_an_event(self, connect: Connect):
        ann, ben = await connect("ann"), await connect("ben")
        await ann.tell("roll", 6)
        await ann.tell("refuse")
        assert (await ann.event("error"))[0]["data"] == {"limit": 3}
        assert await ben.emit("roll", 6)
        assert not [event for event, _ in (*ann.received, *ben.received) if event == "error"][1:]

    async def test_a_controller_that_takes_too_long_is_cancelled(self, connect: Connect):
        ann = await connect("ann")
        assert (await ann.emit("slow"))["error"]["code"] == "timeout"
        assert "cancelled" in notes.lines
        assert (await ann.emit("roll", 6))["ok"]

    async def test_names_of_the_protocol_cannot_be_emitted(self, connect: Connect):
        ann = await connect("ann")
        assert (await ann.emit("disconnecting", "x", []))["error"]["code"] == "unknown_event"
        assert (await ann.emit("error", {"event": "x", "code": "y"}))["error"]["code"] == "unknown_event"
        assert ("error", "x", "y") not in notes.lines

    # -- who hears what --------------------------------------------------------------------------------------------

    async def test_rooms_are_joined_and_left_and_who_sends_hears_nothing_of_it(self, connect: Connect):
        ann, ben, cat = await connect("ann"), await connect("ben"), await connect("cat")
        for connection in (ann, ben):
            assert (await connection.emit("enter", "red"))["ok"]
            assert (await connection.emit("enter", "blue"))["ok"]
        assert (await ann.emit("say", ["red", "blue", ben.sid], "one copy"))["ok"]
        assert await ben.event("said") == ["ann", "one copy"]
        assert (await ben.emit("exit", "red"))["ok"]
        assert (await ann.emit("say", ["red"], "nobody"))["ok"]
        assert (await cat.emit("say", ["blue"], "both"))["ok"]
        assert [await one.event("said") for one in (ann, ben)] == [["cat", "both"]] * 2
        assert [len([1 for event, _ in one.received if event == "said"]) for one in (ann, ben, cat)] == [1, 2, 0]

    async def test_a_users_connections_are_a_room_and_binary_data_arrives_as_such(self, connect: Connect):
        ann, also_ben, ben = await connect("ann"), await connect("ben"), await connect("ben")
        assert (await ann.emit("whisper", "ben", {"a": [1, None]}))["ok"]
        assert await ben.event("whispered") == await also_ben.event("whispered") == [{"a": [1, None]}]
        assert "whispered" not in [event for event, _ in ann.received]

    async def test_everybody_others_and_all_but_some_are_reached(self, connect: Connect):
        ann, ben, cat = await connect("ann"), await connect("ben"), await connect("cat")
        assert (await cat.emit("enter", "deaf"))["ok"]
        assert (await ann.emit("shout", "deaf"))["ok"]
        expected = {
            ann: ["me", "all", "volatile"],
            ben: ["others", "all", "others without", "volatile"],
            cat: ["others", "all"],
        }
        for connection, kinds in expected.items():
            assert [(await connection.event("heard"))[0] for _ in kinds] == kinds
            assert len([1 for event, _ in connection.received if event == "heard"]) == len(kinds)

    async def test_a_client_is_asked_and_answers_or_does_not(self, connect: Connect):
        ann = await connect("ann")
        assert (await ann.emit("ask", "sure?"))["error"]["code"] == "timeout"
        ann.answers("question", "yes")
        assert await ann.emit("ask", "sure?") == {"ok": True, "answer": "yes"}
        ann.answers("question", ("yes", [2]))
        assert await ann.emit("ask", "sure?") == {"ok": True, "answer": ["yes", [2]]}
        ann.answers("question")
        assert await ann.emit("ask", "sure?") == {"ok": True, "answer": None}
        assert await ann.event("question") == ["sure?"]

    async def test_a_connection_is_described_with_its_rooms(self, connect: Connect):
        ann, ben = await connect("ann"), await connect("ben", name="Ben")
        assert (await ben.emit("enter", "red"))["ok"]
        assert await ann.emit("look", ben.sid) == {
            "ok": True, "user": "ben", "name": "Ben", "namespace": NAMESPACE,
            "rooms": [ben.sid, "admitted", "lobby", "red", "user:ben"],
        }  # fmt: skip

    # -- what is kept ----------------------------------------------------------------------------------------------

    async def test_data_is_kept_with_the_connection_and_is_its_own(self, connect: Connect):
        ann, ben = await connect("ann"), await connect("ben")
        assert await ann.emit("remember", [1, "x"]) == {"ok": True, "since": 1, "count": 1, "value": [1, "x"]}
        assert (await ann.emit("remember", 2))["count"] == 2
        assert (await ben.emit("remember", 3))["count"] == 1

    async def test_data_that_is_too_large_is_not_kept(self, connect: Connect):
        ann = await connect("ann")
        assert (await ann.emit("remember", 1))["count"] == 1
        await ann.emit("remember", "x" * 5000)
        again = await ann.emit("remember", 2)
        assert (again["count"], again["value"]) == (2, 2)

    async def test_a_class_of_controllers_has_its_context(self, connect: Connect):
        ann = await connect("ann")
        assert await ann.emit("basket.add", {"name": "pear"}) == {"ok": True, "items": ["pear"], "count": 1}
        assert await ann.emit("basket.add", {"name": "plum", "count": 4}) == {
            "ok": True, "items": ["pear", "plum"], "count": 4,
        }  # fmt: skip
        assert (await ann.emit("basket.add", {"count": 4}))["error"]["code"] == "invalid_payload"

    async def test_the_handshake_is_known_to_controllers(self, connect: Connect):
        ann = await connect("ann", query={"colour": "blue"}, auth={"age": 7}, headers={"language": "de"})
        assert await ann.emit("shake") == {"ok": True, "query": "blue", "auth": {"age": 7}, "language": "de"}

    # -- middleware ------------------------------------------------------------------------------------------------

    async def test_packet_middleware_stops_answers_swallows_and_replaces(self, connect: Connect):
        ann = await connect("ann")
        stopped = await ann.emit("stopped")
        assert (stopped["error"]["code"], stopped["error"]["data"]) == ("forbidden", {"by": "middleware"})
        assert await ann.emit("cached") == {"ok": True, "cached": True}
        assert (await ann.emit("swallowed"))["error"]["code"] == "forbidden"
        assert await ann.emit("replaced", "5") == {"ok": True, "sides": 6, "by": "ann", "roles": [], "after": True}

    async def test_connection_middleware_stands_around_a_life_outermost_first_and_last(self, connect: Connect):
        ann = await connect("ann", name="Ann")
        assert notes.lines[:1] == [("outer in", "ann")]
        await notes.has(("connect", "ann", False))
        assert await ann.event("greeting") == ["Ann"]
        assert await ann.event("welcome") == [["since"]]
        assert [event for event, _ in ann.received] == ["greeting", "welcome"]
        await ann.disconnect()
        reason = "client namespace disconnect"
        await notes.has(("outer out", "ann", reason))
        assert notes.lines.index(("inner out", "ann", reason)) < notes.lines.index(("outer out", "ann", reason))

    async def test_the_end_of_a_connection_is_told_to_its_controllers_and_by_them_to_others(self, connect: Connect):
        ann, ben = await connect("ann"), await connect("ben")
        await ann.emit("remember", 1)
        await ann.disconnect()
        assert await ben.event("left") == ["ann"]
        told = [line for line in notes.lines if line[0] in {"disconnecting", "disconnect"}]
        assert told == [
            ("disconnecting", "ann", "client namespace disconnect", ["admitted", "lobby", "user:ann"]),
            ("disconnect", "ann", {"since": 1, "count": 1, "value": 1}),
        ]
        assert not ann.connected

    async def test_a_service_ends_its_own_connection_and_others(self, connect: Connect):
        ann, ben, cat = await connect("ann"), await connect("ben"), await connect("cat")
        assert (await ann.emit("dismiss", ben.sid))["ok"]
        await ben.disconnected()
        assert await cat.event("left") == ["ben"]
        await cat.tell("quit")
        await cat.disconnected()
        assert await ann.event("left") == ["ben"]
        assert await ann.event("left") == ["cat"]
        await notes.has(("outer out", "cat", "server disconnect"))

    async def test_a_connect_controller_that_refuses_is_told_as_an_error_and_the_connection_stays(
        self, connect: Connect
    ):
        ann = await connect("ann", query={"as": "unlucky"})
        assert (await ann.event("error"))[0]["message"] == "no luck"
        assert (await ann.emit("roll", 6))["ok"]

    # -- who is there ----------------------------------------------------------------------------------------------

    async def test_who_looks_at_a_room_is_told_who_is_there_and_what_changes(self, connect: Connect):
        room = fresh("lounge")
        ann, ben = await connect("ann"), await connect("ben")
        for client in (ann, ben):
            await client.emit("enter", room)
        answer = await ann.emit("who", room)
        answer["users"].sort(key=lambda user: user["id"])
        users = [{"id": "ann", "state": "online"}, {"id": "ben", "state": "online"}]
        assert answer == {"ok": True, "users": users, "count": 2}
        await ben.emit("idle", True)
        assert await ann.event("presence") == [{"room": room, "users": [{"id": "ben", "state": "away"}], "count": 2}]
        await ben.emit("be", "dnd")
        assert (await ann.event("presence"))[0]["users"] == [{"id": "ben", "state": "dnd"}]
        again = await connect("ben")
        await again.emit("enter", room)
        await ben.emit("be", "invisible")
        assert await ann.event("presence") == [{"room": room, "users": [{"id": "ben", "state": "offline"}], "count": 1}]
        assert (await ben.emit("be", "asleep"))["error"]["code"] == "invalid_payload"
        assert not [event for event, _ in ben.received if event == "presence"]

    async def test_who_is_not_in_a_room_or_has_seen_enough_is_told_nothing_of_it(self, connect: Connect):
        room = fresh("lounge")
        ann, ben, eve = await connect("ann"), await connect("ben"), await connect("eve")
        assert (await eve.emit("who", room))["error"]["code"] == "not_a_member"
        for client in (ann, ben, eve):
            await client.emit("enter", room)
            assert (await client.emit("who", room))["ok"]
        await eve.emit("exit", room)
        assert await ben.emit("enough", room) == {"ok": True}
        seen = len(eve.received), len(ben.received)
        await ann.emit("be", "dnd")
        while {"id": "ann", "state": "dnd"} not in (await ann.event("presence"))[0]["users"]:
            pass
        assert (len(eve.received), len(ben.received)) == seen
