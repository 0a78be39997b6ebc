"""What people do to each other in rooms, between stock clients on two gateways and two chats, and over HTTP."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.clients.conversation import code, command, make_room, ok
from tests.support.clients.people import KINDS, AnyClient, AnyStack, People
from tests.support.stack.stack import Stack


async def pair(people: People, stack: AnyStack, kind: str = "python") -> tuple[AnyClient, str, AnyClient, str]:
    """Ann on one gateway and Ben on the other, with their ids."""
    ann, ann_account = await people.join("ann", kind=kind, gateway=stack.gateways[0])
    ben, ben_account = await people.join("ben", gateway=stack.gateways[1])
    return ann, ann_account["user_id"], ben, ben_account["user_id"]


async def refused(client: AnyClient, event: str, **fields: Any) -> dict[str, Any]:
    """The error of a command that must be refused."""
    answer = await command(client, event, **fields)
    assert answer["ok"] is False, answer
    return answer["error"]


def last(client: AnyClient, room: str) -> str:
    """The type of the last event that a client has of a room."""
    return client.logged(room)[-1]["type"]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_direct_room_appears_with_its_first_message(people: People, stack: AnyStack, kind: str):
    ann, ann_id, ben, ben_id = await pair(people, stack, kind)
    opened = await ok(ann, "room.direct", users=[ben_id])
    room = opened["room"]["id"]
    assert (opened["room"]["kind"], opened["room"]["users"]) == ("direct", sorted([ann_id, ben_id]))
    assert code(await ben.emit("history", {"room": room})) == "not_found"
    await ok(ann, "message.send", room=room, body="hello")
    await ben.until(lambda: ben.bodies(room) == ["hello"], "what was said")
    assert [event["type"] for event in ben.logged(room)] == ["member.joined", "message.sent"]
    assert (await ok(ben, "room.direct", users=[ann_id]))["room"]["id"] == room
    await ok(ben, "message.send", room=room, body="hi")
    await ann.until(lambda: ann.bodies(room) == ["hello", "hi"], "the answer")
    await ok(ben, "room.leave", room=room)
    await ben.until(lambda: last(ben, room) == "member.left", "its own leaving")
    await ok(ann, "message.send", room=room, body="still there?")
    await ben.until(lambda: ben.bodies(room)[-1] == "still there?", "what brought it back")


@pytest.mark.parametrize("kind", KINDS)
async def test_who_is_removed_hears_it_as_the_last_and_stays_out_after_reconnecting(
    people: People, stack: AnyStack, kind: str
):
    ann, _, ben, ben_id = await pair(people, stack, kind)
    room = await make_room(ann, ben, kind="public")
    await ok(ann, "member.remove", room=room, user=ben_id, reason="off topic")
    await ben.until(lambda: last(ben, room) == "member.removed", "its own removal")
    assert ben.logged(room)[-1]["data"]["reason"] == "off topic"
    assert (await refused(ben, "message.send", room=room, body="but"))["code"] == "not_a_member"
    said = await ok(ann, "message.send", room=room, body="quiet now")
    await ann.until(lambda: ann.logged(room)[-1]["sequence"] == said["sequence"], "its own message")
    assert last(ben, room) == "member.removed"
    assert await ok(ben, "room.join", room=room), "a removal is no ban"


async def test_a_banned_user_is_out_on_every_device_and_finds_no_way_back(people: People, stack: AnyStack):
    ann, _, ben, _ = await pair(people, stack)
    account = await people.account("twice")
    devices = [await people.attempt({"token": account["access_token"]}, gateway=one) for one in stack.gateways]
    for device in devices:
        await device.connected()
    room = await make_room(ann, ben)
    await ok(devices[0], "room.join", room=room)
    for device in devices:
        await device.until(lambda d=device: d.logged(room), "its own arrival")
    link = await ok(ann, "invite.create", room=room)
    banned = await ok(ann, "member.ban", room=room, user=account["user_id"], seconds=3600, reason="spam")
    assert banned["sequence"] > link["sequence"]
    for device in devices:
        await device.until(lambda d=device: last(d, room) == "member.removed", "the end of its membership")
    assert [event["type"] for event in devices[0].logged(room)][-2:] == ["member.banned", "member.removed"]
    assert (await refused(devices[1], "room.join", room=room))["code"] == "banned"
    error = await refused(devices[0], "room.join", invite=link["code"])
    assert error["code"] == "banned"
    assert "banned_until" in error["data"]
    assert (await refused(ben, "member.unban", room=room, user=account["user_id"]))["code"] == "forbidden"
    later = await people.attempt({"token": account["access_token"]}, gateway=stack.gateways[1])
    await later.connected()
    said = await ok(ann, "message.send", room=room, body="quiet now")
    await ben.until(lambda: ben.logged(room)[-1]["sequence"] == said["sequence"], "the message")
    await ok(later, "room.create", name="Mine")
    assert later.logged(room) == []
    await ok(ann, "member.unban", room=room, user=account["user_id"])
    await ok(later, "room.join", room=room)


async def test_slow_mode_and_mutes_say_when_one_may_write_again(people: People, stack: AnyStack):
    ann, _, ben, ben_id = await pair(people, stack)
    room = await make_room(ann, ben)
    await ok(ann, "room.update", room=room, slow_seconds=60)
    await ok(ben, "message.send", room=room, body="one")
    error = await refused(ben, "message.send", room=room, body="two")
    assert (error["code"], error["retryable"]) == ("rate_limited", True)
    assert 50 <= error["data"]["retry_after"] <= 60
    await ok(ann, "message.send", room=room, body="I moderate")
    await ok(ann, "room.update", room=room, slow_seconds=0)
    await ok(ben, "message.send", room=room, body="two")
    await ok(ann, "member.mute", room=room, user=ben_id, seconds=600)
    error = await refused(ben, "message.send", room=room, body="three")
    assert (error["code"], set(error["data"])) == ("muted", {"muted_until"})
    await ok(ann, "member.unmute", room=room, user=ben_id)
    await ok(ben, "message.send", room=room, body="three")


async def test_the_last_use_of_a_link_goes_to_one(people: People, stack: AnyStack):
    ann, _, ben, _ = await pair(people, stack)
    cat, _ = await people.join("cat", gateway=stack.gateways[0])
    room = (await ok(ann, "room.create", name="Den", kind="private"))["room"]["id"]
    link = await ok(ann, "invite.create", room=room, uses=1, seconds=3600)
    answers = await asyncio.gather(*(command(one, "room.join", invite=link["code"]) for one in (ben, cat)))
    assert sorted(answer["ok"] for answer in answers) == [False, True]
    assert [answer["error"]["code"] for answer in answers if not answer["ok"]] == ["not_found"]
    await ann.until(lambda: last(ann, room) == "invite.used", "the link's use")


async def test_moderators_and_rules_count_at_once(people: People, stack: AnyStack):
    ann, _, ben, ben_id = await pair(people, stack)
    room = await make_room(ann, ben)
    assert (await refused(ben, "room.update", room=room, name="Mine"))["code"] == "forbidden"
    await ok(ann, "member.role", room=room, user=ben_id, role="moderator")
    await ok(ben, "room.update", room=room, name="Ours")
    await ok(ann, "room.permissions", room=room, rules=[{"role": "moderator", "deny": ["post"]}])
    assert (await refused(ben, "message.send", room=room, body="hi"))["code"] == "forbidden"
    await ok(ann, "room.permissions", room=room, rules=[{"user": ben_id, "allow": ["post"]}])
    await ok(ben, "message.send", room=room, body="hi")
    await ok(ann, "room.archive", room=room)
    assert (await refused(ben, "message.send", room=room, body="hi"))["code"] == "room_archived"
    await ok(ann, "room.unarchive", room=room)
    await ok(ben, "message.send", room=room, body="hi again")


@pytest.mark.parametrize(
    ("event", "fields"),
    [
        ("member.ban", {"user": "u", "reason": "x" * 10_000}),
        ("member.ban", {"user": "u", "seconds": 0}),
        ("member.ban", {"user": "u", "seconds": 10**12}),
        ("member.ban", {"user": "x" * 200}),
        ("member.ban", {"user": ["u"] * 10_000}),
        ("member.mute", {"user": {"id": "u"}}),
        ("member.role", {"user": "u", "role": "owner"}),
        ("room.permissions", {"rules": []}),
        ("room.permissions", {"rules": [{"role": "everyone", "deny": ["post"]}] * 17}),
        ("room.permissions", {"rules": [{"role": "owner", "deny": ["post"]}]}),
        ("room.permissions", {"rules": [{"role": "everyone", "deny": ["fly"]}]}),
        ("room.permissions", {"rules": [{"deny": ["post"]}]}),
        ("room.update", {"slow_seconds": 21_601}),
        ("room.update", {"slow_seconds": -1}),
        ("room.direct", {"users": [f"u{n}" for n in range(9)]}),
        ("room.direct", {"users": "u"}),
        ("invite.create", {"uses": 0}),
        ("invite.revoke", {"invite": "x"}),
        ("room.join", {"room": None, "invite": None}),
    ],
)
async def test_what_is_out_of_bounds_is_refused_and_writes_nothing(
    people: People, stack: AnyStack, event: str, fields: dict[str, Any]
):
    client, _ = await people.join("ann")
    room = await make_room(client)
    head = client.logged(room)[-1]["sequence"] if client.logged(room) else 1
    assert (await refused(client, event, **({"room": room} | fields)))["code"] == "invalid_payload"
    said = await ok(client, "message.send", room=room, body="still here")
    assert said["sequence"] == head + 1


async def test_in_somebody_elses_room_nobody_has_anything_to_say(people: People, stack: AnyStack):
    ann, ann_id, ben, _ = await pair(people, stack)
    hidden = (await ok(ann, "room.create", name="Den", kind="private"))["room"]["id"]
    public = await make_room(ann)
    for event, fields in {
        "member.remove": {"user": ann_id}, "member.ban": {"user": ann_id}, "member.unban": {"user": ann_id},
        "member.mute": {"user": ann_id}, "member.unmute": {"user": ann_id},
        "member.role": {"user": ann_id, "role": "member"},
        "room.permissions": {"rules": [{"role": "everyone", "deny": ["post"]}]},
        "room.unarchive": {}, "invite.create": {}, "invite.revoke": {"invite": 1},
    }.items():  # fmt: skip
        assert (await refused(ben, event, room=hidden, **fields))["code"] == "not_found", event
        assert (await refused(ben, event, room=public, **fields))["code"] == "not_a_member", event


async def test_servers_do_the_same_over_http(people: People, stack: AnyStack):
    if not isinstance(stack, Stack):
        pytest.skip("needs the address of a chat")
    ann, ben = await people.account("ann"), await people.account("ben")

    async def post(who: dict[str, Any], path: str, **body: Any) -> Any:
        headers = {"Authorization": f"Bearer {who['access_token']}"}
        answer = await stack.http.post(f"{stack.chats[1].url}/api{path}", json=body, headers=headers)
        return answer.json()

    room = (await post(ann, "/rooms", name="Den", kind="private"))["room"]["id"]
    link = await post(ann, f"/rooms/{room}/invites", uses=3, id=str(uuid.uuid4()))
    assert (await post(ben, "/join", invite=link["code"]))["room"]["id"] == room
    assert (await post(ann, f"/rooms/{room}/mute", user=ben["user_id"], seconds=60))["ok"]
    assert (await post(ben, f"/rooms/{room}/messages", body="hi"))["error"]["code"] == "muted"
    assert (await post(ann, f"/rooms/{room}/ban", user=ben["user_id"]))["ok"]
    assert (await post(ben, f"/rooms/{room}/join", invite=link["code"]))["error"]["code"] == "banned"
    direct = await post(ann, "/direct", users=[ben["user_id"]])
    assert (await post(ben, f"/rooms/{direct['room']['id']}/messages", body="hi"))["error"]["code"] == "not_found"


async def test_a_block_counts_at_once_on_every_gateway(people: People, stack: AnyStack):
    ann, ann_id, ben, ben_id = await pair(people, stack)
    room = (await ok(ann, "room.direct", users=[ben_id]))["room"]["id"]
    await ok(ann, "message.send", room=room, body="hello")
    await ok(ben, "message.send", room=room, body="go away")
    assert await ben.emit("user.block", {"user": ann_id}) == {"ok": True}
    assert (await refused(ann, "message.send", room=room, body="why?"))["code"] == "forbidden"
    assert (await ben.emit("blocks", {}))["users"][0]["id"] == ann_id
    private = (await ok(ann, "room.create", name="Den", kind="private"))["room"]["id"]
    assert (await refused(ann, "room.invite", room=private, user={"id": ben_id}))["code"] == "forbidden"
    await ok(ben, "user.unblock", user=ann_id)
    await ok(ann, "message.send", room=room, body="thanks")
    assert (await refused(ann, "user.block", user="x" * 200))["code"] == "invalid_payload"
    assert (await refused(ann, "user.block", user=[ben_id] * 100))["code"] == "invalid_payload"


async def test_a_report_reaches_moderators_and_not_who_is_reported(people: People, stack: AnyStack):
    ann, _, ben, ben_id = await pair(people, stack)
    cat, cat_account = await people.join("cat", gateway=stack.gateways[1])
    room = await make_room(ann, ben, cat)
    said = await ok(ben, "message.send", room=room, body="vile")
    fields = {"room": room, "message": said["sequence"], "category": "hate"}
    report = (await ok(cat, "message.report", **fields, comment="he said it"))["report"]
    assert (await refused(cat, "message.report", **fields, comment="x" * 10_000))["code"] == "invalid_payload"
    assert (await refused(cat, "message.report", **(fields | {"category": "dull"})))["code"] == "invalid_payload"
    assert (await ben.emit("reports", {"room": room}))["error"]["code"] == "forbidden"
    (view,) = (await ann.emit("reports", {"room": room}))["reports"]
    assert (view["report"], [one["body"] for one in view["copy"]], "reporter" in view) == (report, ["vile"], False)
    assert cat_account["user_id"] not in str(view)
    await ok(ann, "member.mute", room=room, user=ben_id)
    done = await ann.emit("report.resolve", {"room": room, "report": report, "resolution": "acted"})
    assert (done["state"], done["resolution"]) == ("resolved", "acted")
    await ann.until(lambda: last(ann, room) == "member.muted", "the mute")
    assert "report" not in str([event["type"] for event in ben.logged(room)])
    listed = await ann.emit("restrictions", {"room": room})
    assert [(one["id"], one["muted"]) for one in listed["users"]] == [(ben_id, True)]


async def test_what_an_administrator_does_in_a_room_is_in_the_audit_log(people: People, stack: AnyStack):
    if not isinstance(stack, Stack):
        pytest.skip("needs the password of an administrator")
    ben, account = await people.join("ben")
    await stack.admin("GET", "/users")
    admin = await people.attempt({"token": stack._admin_token})
    await admin.connected()
    room = await make_room(admin, ben)
    said = await ok(ben, "message.send", room=room, body="vile")
    await ok(admin, "member.mute", room=room, user=account["user_id"], seconds=60, reason="vile", id="mute-1")
    await ok(admin, "member.mute", room=room, user=account["user_id"], seconds=60, reason="vile", id="mute-1")
    await ok(admin, "room.archive", room=room, reason="over")
    await ok(admin, "room.unarchive", room=room)
    cat, _ = await people.join("cat")
    fields = {"room": room, "message": said["sequence"], "category": "hate"}
    report = (await ok(cat, "message.report", **fields))["report"]
    (view,) = [one for one in (await admin.emit("reports", {}))["reports"] if one["report"] == report]
    assert view["reporter"]
    await admin.emit("report.resolve", {"room": room, "report": report, "resolution": "dismissed"})
    entries = (await stack.admin("GET", f"/audit?target={room}"))["entries"]
    assert [entry["action"] for entry in reversed(entries)] == [
        "member.mute", "room.archive", "room.unarchive", "report.resolve",
    ]  # fmt: skip
    assert entries[-1]["detail"] == {"user": account["user_id"], "seconds": 60, "reason": "vile"}
    assert (entries[1]["before"], entries[1]["after"]) == ({"archived": True}, {"archived": False})


async def test_who_is_suspended_reads_and_protects_themselves_and_writes_to_nobody(people: People, stack: AnyStack):
    if not isinstance(stack, Stack):
        pytest.skip("needs the password of an administrator")
    ann, account = await people.join("ann")
    ben, ben_account = await people.join("ben", gateway=stack.gateways[1])
    room = await make_room(ann, ben)
    said = await ok(ben, "message.send", room=room, body="vile")
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    later = {"at": tomorrow, "message": {"id": "later", "room": room, "body": "x"}}
    assert (await ann.emit("message.schedule", later))["ok"]
    await stack.admin("POST", f"/users/{account['user_id']}/suspension", reason="spam")
    commands: dict[str, dict[str, Any]] = {
        "room.direct": {"users": []}, "member.ban": {"room": room, "user": "u"},
        "member.role": {"room": room, "user": "u", "role": "member"}, "room.permissions": {"room": room, "rules": []},
        "invite.create": {"room": room}, "room.unarchive": {"room": room}, "thread.follow": {"room": room, "thread": 1},
        "message.send": {"room": room, "body": "x"}, "reaction.add": {"room": room, "message": 1, "emoji": "👍"},
        "message.schedule": {"at": tomorrow, "message": {"id": "late", "room": room, "body": "x"}},
        "command.invoke": {"room": room, "name": "poll"}, "commands.set": {"commands": []},
        "report.resolve": {"room": room, "report": str(uuid.uuid4()), "resolution": "acted"},
    }  # fmt: skip
    for event, fields in commands.items():
        assert (await refused(ann, event, **fields))["code"] == "suspended", event
    for event in ("invites", "restrictions", "reports"):
        assert (await ann.emit(event, {"room": room}))["ok"], event
    theirs: dict[str, dict[str, Any]] = {  # what is theirs alone, or protects them
        "message.unschedule": {"id": "later"}, "user.block": {"user": ben_account["user_id"]}, "blocks": {},
        "message.report": {"room": room, "message": said["sequence"], "category": "hate"},
        "draft.put": {"room": room, "body": ""}, "read": {"room": room, "sequence": said["sequence"]},
        "unread.mark": {"room": room, "sequence": said["sequence"]}, "notification.read": {"up_to": 9},
        "user.unblock": {"user": ben_account["user_id"]},
    }  # fmt: skip
    for event, fields in theirs.items():
        await ok(ann, event, **fields)
    assert (await ann.emit("scheduled", {}))["scheduled"] == []
