"""examples/p2p as its users have it: its client with socket.io-client 4.x and 2.x, two gateways, two replicas."""

from __future__ import annotations

import ast
import asyncio
import itertools
import json
import os
import pkgutil
import subprocess
import sys
import tomllib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from parley.common.process.settings import ServiceSettings
from parley.framework import Router, Service
from parley.gateway.namespaces import load
from parley.testing import RunningServer, running
from parley.testing.tokens import token_for
from tests.support.clients.stock_clients import HAS_OLDER_CLIENT, Client
from tests.support.paths import CLIENTS, ROOT
from tests.support.waiting import until

EXAMPLE = ROOT / "examples" / "p2p"
DENIED = {"type": "deleted", "message": "deleted, room has been deleted."}
needs_clients = pytest.mark.skipif(
    not HAS_OLDER_CLIENT, reason="needs Node, and npm ci in web/ and tests/support/node/: the stock clients"
)


class Peer(Client):
    """One client of the example; `heard` is all that its `hear` was called with."""

    def __init__(self, browsers: Browsers, name: str) -> None:
        super().__init__()
        self.heard: list[tuple[str, list[Any]]] = []
        self.acks: dict[int, Any] = {}
        self._browsers, self._name = browsers, name

    @property
    def sid(self) -> str:
        """Its id, as it says itself."""
        return self.connects[-1]

    def of(self, event: str) -> list[Any]:
        """The first argument of everything of this name that it heard."""
        return [args[0] if args else None for name, args in self.heard if name == event]

    async def heard_of(self, event: str, times: int = 1) -> Any:
        """Wait for the n-th of this name, and return it."""
        await self.until(lambda: len(self.of(event)) >= times, f"{event} number {times}")
        return self.of(event)[times - 1]

    async def emit(self, event: str, *args: Any) -> Any:
        """Emit and return the ack."""
        tag = next(self._browsers.tags)
        self._browsers.do("emit", self._name, tag=tag, event=event, args=args)
        return await self.until(lambda: self.acks.get(tag), f"the ack of {event}")

    def tell(self, event: str, *args: Any) -> None:
        """Emit without an ack."""
        self._browsers.do("emit", self._name, tag=None, event=event, args=args)

    def leave(self) -> None:
        """Close the page."""
        self._browsers.do("leave", self._name)

    async def beside(self, namespace: str) -> None:
        """Join another namespace over the same transport."""
        self._browsers.do("beside", self._name, namespace=namespace)
        assert await self.heard_of("beside") == "connect"

    async def take_in(self, event: str, args: list[Any]) -> None:
        """Something happened."""
        if event == "ack":
            self.acks[args[0]] = args[1]
        await self.note(self.heard, (event, args))
        if event == "connect":
            await self.note(self.connects, args[0])


class Browsers:
    """The Node process that all clients are in."""

    def __init__(self, server: RunningServer) -> None:
        self.tags = itertools.count(1)
        self._server = server
        self._peers: dict[str, Peer] = {}
        self._process: Any = None

    async def run(self) -> None:
        """Start Node, and pass on what it says until it ends."""
        script = CLIENTS / "p2p_client.mjs"
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec("node", str(script), stdin=pipe, stdout=pipe)
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        while line := await self._process.stdout.readline():
            message = json.loads(line)
            await self._peers[message["name"]].take_in(message["on"], message["args"])

    async def stop(self) -> None:
        """Close them all."""
        self._process.stdin.close()
        await self._process.wait()
        await self._reader

    def do(self, action: str, name: str, **more: Any) -> None:
        """Have one client do something."""
        self._process.stdin.write(json.dumps({"do": action, "name": name, **more}).encode() + b"\n")

    def attempt(self, version: int = 4, gateway: int = 0, **options: Any) -> Peer:
        """A client that tries to enter a room."""
        name = str(next(self.tags))
        self._peers[name] = peer = Peer(self, name)
        self.do("enter", name, version=version, url=self._server.urls[gateway], options=options)
        return peer

    async def enter(self, room: str, version: int = 4, gateway: int = 0, **options: Any) -> Peer:
        """A client in a room, where everybody has been told of it."""
        peer = self.attempt(version, gateway, room=room, **options)
        await peer.heard_of("online")
        return peer

    async def admin(self) -> Peer:
        """An administrator, in a room of their own."""
        return await self.enter("office", auth={"token": token_for("root", roles=("admin",))})


@pytest.fixture(scope="module")
def service() -> Any:
    """The example's service."""
    sys.path.insert(0, str(EXAMPLE))
    yield pkgutil.resolve_name("p2p.service:service")
    sys.path.remove(str(EXAMPLE))


@pytest.fixture(scope="module")
async def server(service: Any) -> AsyncIterator[RunningServer]:
    declared = tomllib.loads((EXAMPLE / "namespaces.toml").read_text("utf-8"))["namespaces"]["/p2p"]
    namespaces = {"/p2p": declared, "/beside": {"auth": "guest"}}
    beside, settings = Service("beside", Router[None]("/beside")), {"gateway_allow_eio3": True}
    async with running(service, service, beside, namespaces=namespaces, settings=settings, gateways=2) as started:
        yield started


@pytest.fixture(scope="module")
async def browsers(server: RunningServer) -> AsyncIterator[Browsers]:
    opened = Browsers(server)
    await opened.run()
    yield opened
    await opened.stop()


# -- what its users see ------------------------------------------------------------------------------------------------


@needs_clients
async def test_old_and_new_clients_on_all_gateways_know_who_is_online(browsers: Browsers):
    ann = await browsers.enter("list", 4, 0)
    ben = await browsers.enter("list", 2, 1)
    cat = await browsers.enter("list", 4, 1)
    assert ben.sid.startswith("/p2p#")
    for number, (peer, inside) in enumerate(((ann, {ann}), (ben, {ann, ben}), (cat, {ann, ben, cat})), start=1):
        for other in inside:
            online = await other.heard_of("online", number - (ann, ben, cat).index(other))
            assert sorted(online.pop("clients")) == sorted(one.sid for one in inside)
            assert online == {"action": "join", "target": "participator", "message": f"User({peer.sid}) joined."}
    ben.leave()
    for other, times in ((ann, 4), (cat, 2)):
        online = await other.heard_of("online", times)
        assert sorted(online.pop("clients")) == sorted((ann.sid, cat.sid))
        assert online == {"action": "leave", "target": "participator", "message": f"User({ben.sid}) leaved."}


@needs_clients
async def test_an_exchange_reaches_its_target_alone_across_gateways_and_versions(browsers: Browsers):
    peers = [await browsers.enter("calls", version, gateway) for version in (4, 2) for gateway in (0, 1)]
    outsider = await browsers.enter("elsewhere")
    for sender in peers:
        for target in peers:
            payload = {"offer": ["☂", None, 1.5], "from": sender.sid}
            assert await sender.emit("exchange", {"target": target.sid, "payload": payload}) == {"ok": True}
    for target in peers:
        await target.heard_of("message", len(peers))
        for sender, message in zip(peers, target.of("message"), strict=True):
            assert message["data"] == {"action": "exchange", "payload": {"offer": ["☂", None, 1.5], "from": sender.sid}}
            assert message["meta"].pop("timestamp") > 1_700_000_000_000
            assert message["meta"] == {"client": sender.sid, "target": target.sid}
    # What is sent last arrives last, and nothing else has.
    for room in ("calls", "elsewhere"):
        marker = await browsers.enter(room)
        for peer in (*peers, marker) if room == "calls" else (outsider, marker):
            await peer.until(
                lambda peer=peer, marker=marker: marker.sid in peer.of("online")[-1]["clients"], "the marker"
            )
    assert [len(peer.of("message")) for peer in (*peers, outsider)] == [4, 4, 4, 4, 0]
    assert [set(peer.of("received")) for peer in (*peers, outsider)] == [
        *({"online", peer.sid} for peer in peers), {"online"},
    ]  # fmt: skip


@needs_clients
@pytest.mark.parametrize("version", [4, 2])
async def test_who_sends_nonsense_is_told_so_and_nobody_else_notices(browsers: Browsers, version: int):
    room = f"nonsense{version}"
    eve, ann = await browsers.enter(room, version), await browsers.enter(room, gateway=1)
    elsewhere = await browsers.enter("elsewhere", gateway=1)
    for args, code in [
        ([], "invalid_payload"),
        ([None], "invalid_payload"),
        (["text"], "invalid_payload"),
        ([{"payload": 1}], "invalid_payload"),
        ([{"target": "", "payload": 1}], "invalid_payload"),
        ([{"target": ["x"], "payload": 1}], "invalid_payload"),
        ([{"target": "x" * 300, "payload": 1}], "invalid_payload"),
        ([{"target": ann.sid}, "more"], "invalid_payload"),
        ([{"target": ann.sid, "payload": "x" * 70_000}], "payload_too_large"),
        ([{"target": elsewhere.sid, "payload": 1}], "not_a_member"),
        ([{"target": "nobody", "payload": 1}], "not_a_member"),
        ([{"target": f"room:{room}", "payload": 1}], "not_a_member"),
        ([{"target": "*", "payload": 1}], "not_a_member"),
    ]:
        assert (await eve.emit("exchange", *args))["error"]["code"] == code, args
    eve.tell("exchange", {"payload": 1})
    assert (await eve.heard_of("error"))["code"] == "invalid_payload"
    for event in ("room.close", "room.open"):
        assert (await eve.emit(event, {"room": room}))["error"]["code"] == "forbidden"
    assert await eve.emit("exchange", {"target": ann.sid, "payload": 1}) == {"ok": True}
    assert (await ann.heard_of("message"))["data"]["payload"] == 1
    assert [len(peer.of("message")) for peer in (eve, ann, elsewhere)] == [0, 1, 0]
    assert set(elsewhere.of("received")) == {"online"}


@needs_clients
@pytest.mark.parametrize("version", [4, 2])
async def test_who_enters_wrongly_is_told_what_is_wrong(browsers: Browsers, version: int):
    wrong: list[tuple[str, dict[str, Any]]] = [
        ("room", {"room": "", "userId": "ann"}),
        ("room", {"room": "user:ann", "userId": "ann"}),
        ("room", {"room": "x" * 65, "userId": "ann"}),
        ("userId", {"room": "demo", "userId": "a b"}),
        ("userId", {"room": "demo", "userId": "x" * 1000}),
    ]
    for field, query in wrong:
        peer = browsers.attempt(version, **query)
        refusal = await peer.heard_of("error" if version == 2 else "connect_error")
        assert (refusal["code"], refusal["data"]["field"]) == ("invalid_payload", field)
        assert peer.connects == []
    huge = browsers.attempt(version, room="demo", userId="x" * 5000)
    assert (await huge.heard_of("error" if version == 2 else "connect_error"))["code"] == "payload_too_large"


@needs_clients
async def test_a_room_that_is_closed_turns_everybody_out_and_stays_shut_until_it_is_opened(browsers: Browsers):
    admin, other = await browsers.admin(), await browsers.enter("other", gateway=1)
    peers = [await browsers.enter("doomed", version, gateway) for version in (4, 2) for gateway in (0, 1)]
    for peer in peers:
        await peer.beside("/beside")
    assert await admin.emit("room.close", {"room": "doomed"}) == {"ok": True, "clients": 4}
    for peer in peers:
        assert (await peer.heard_of("message"))["data"] == {"action": "deny", "payload": DENIED}
        assert await peer.heard_of("disconnect") == "io server disconnect"
        assert await peer.heard_of("beside", 2) == "io server disconnect"
        heard = [event for event, _ in peer.heard]
        assert heard.index("message") < heard.index("disconnect")
        assert len(peer.of("message")) == 1
    for number in range(8):  # whichever replica is asked
        late = browsers.attempt(2 if number % 2 else 4, number // 2 % 2, room="doomed")
        refusal = await late.heard_of("error" if number % 2 else "connect_error")
        assert (refusal["code"], refusal["data"]["data"]) == ("not_found", {"action": "deny", "payload": DENIED})
    assert await admin.emit("room.open", {"room": "doomed"}) == {"ok": True}
    again = await browsers.enter("doomed", gateway=1)
    assert again.of("online")[0]["clients"] == [again.sid]
    assert (other.of("disconnect"), admin.of("disconnect")) == ([], [])


# -- what its makers see -----------------------------------------------------------------------------------------------


async def test_replicas_know_what_each_other_closed_and_new_ones_learn_it(service: Any, nats_url: str):
    settings = [ServiceSettings(nats_url=nats_url, instance=f"p2p{number}") for number in (1, 2, 3)]
    async with service.running(settings[0]) as first, service.running(settings[1]) as second:
        await first.state.change("demo", closed=True)
        await until(lambda: second.state.is_closed("demo"))
        async with service.running(settings[2]) as third:
            await until(lambda: third.state.is_closed("demo"))
            await third.state.change("demo", closed=False)
            await until(lambda: not first.state.is_closed("demo") and not second.state.is_closed("demo"))


def test_it_is_written_with_the_framework_alone():
    imported: set[str] = set()
    for path in (EXAMPLE / "p2p").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            imported |= {name for name in names if name.split(".")[0] == "parley"}
    assert imported == {"parley.framework"}


def test_its_namespaces_and_its_own_tests_are_in_order():
    assert set(load(EXAMPLE / "namespaces.toml")) == {"/chat", "/p2p"}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        command, check=False, cwd=EXAMPLE, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
