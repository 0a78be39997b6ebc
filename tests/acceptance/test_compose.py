"""The production layout as `docker compose` runs it: three gateways behind nginx, everything through its one port."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.clients.conversation import make_room, ok, persist
from tests.support.clients.plain_http import plain_http
from tests.support.clients.stock_clients import PythonClient
from tests.support.paths import ROOT
from tests.support.stack.compose import Compose, why_not

# Building the image the first time takes minutes.
pytestmark = [pytest.mark.docker, pytest.mark.timeout(1800)]

PASSED_THROUGH = ["tests/acceptance/test_messaging.py", "tests/acceptance/test_admission.py"]


@pytest.fixture(scope="module")
def compose(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compose]:
    """The whole layout, running and healthy; torn down with its volumes."""
    if reason := why_not():
        pytest.skip(reason)
    project = Compose(tmp_path_factory.mktemp("compose"))
    try:
        project.start()
        yield project
    finally:
        project.try_run("down", "--volumes", "--remove-orphans", "--timeout", "5")


class Visitor:
    """Talks to the layout as the outside world does."""

    def __init__(self, url: str, admin_password: str) -> None:
        self.url = url
        self._admin = {"username": "admin", "password": admin_password}
        self.http = plain_http(base_url=url, timeout=15)
        self._clients: list[PythonClient] = []

    async def account(self) -> dict[str, Any]:
        body = {"username": f"user_{uuid.uuid4().hex[:12]}", "password": "a long password"}
        answer = await self.http.post("/auth/register", json=body)
        assert answer.is_success, answer.text
        return answer.json()

    async def client(self, account: dict[str, Any], transport: str) -> PythonClient:
        client = PythonClient()
        self._clients.append(client)
        await client.start(self.url, "/chat", {"token": account["access_token"]}, [transport])
        await client.connected()
        return client

    async def admin(self, method: str, path: str, **body: Any) -> Any:
        login = await self.http.post("/auth/login", json=self._admin)
        headers = {"authorization": f"Bearer {login.json()['access_token']}"}
        answer = await self.http.request(method, f"/admin{path}", json=body or None, headers=headers)
        assert answer.is_success, answer.text
        return answer.json()

    async def poll(self, **query: str) -> httpx.Response:
        return await self.http.get("/socket.io/", params={"EIO": "4", "transport": "polling", **query})

    async def stop(self) -> None:
        await asyncio.gather(*(client.stop() for client in self._clients))
        await self.http.aclose()


@pytest.fixture
async def visitor(compose: Compose) -> AsyncIterator[Visitor]:
    """Somebody outside."""
    somebody = Visitor(compose.url, compose.admin_password)
    yield somebody
    await somebody.stop()


def test_the_acceptance_tests_pass_through_nginx_as_well(compose: Compose, tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", f"--basetemp={tmp_path / 'nested'}", *PASSED_THROUGH],
        cwd=ROOT,
        env={**os.environ, "TEST_STACK_URL": compose.url, "TEST_STACK_ADMIN_PASSWORD": compose.admin_password},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-6000:]


async def test_a_polling_and_a_websocket_client_talk_until_one_is_kicked(visitor: Visitor) -> None:
    ann, ben = await visitor.account(), await visitor.account()
    by_polling = await visitor.client(ann, "polling")
    by_websocket = await visitor.client(ben, "websocket")
    assert (by_polling.transport, by_websocket.transport) == ("polling", "websocket")
    room = await make_room(by_polling, by_websocket)
    await ok(by_polling, "message.send", room=room, body="from polling")
    await ok(by_websocket, "message.send", room=room, body="from websocket")
    for client in (by_polling, by_websocket):
        await client.until(lambda c=client: c.bodies(room) == ["from polling", "from websocket"], "both messages")
    for account, client in ((ann, by_polling), (ben, by_websocket)):
        kicked = await visitor.admin("POST", f"/users/{account['user_id']}/kick", reason="see you")
        assert kicked["disconnected"] == 1
        await client.until(lambda c=client: c.disconnects, "the disconnect")
        assert client.of("kicked")[0]["reason"] == "see you"


async def test_every_polling_session_stays_with_its_gateway(compose: Compose, visitor: Visitor) -> None:
    seen: set[str] = set()
    for _ in range(30):
        opened = await visitor.poll()
        sid = opened.text.split('"sid":"')[1].split('"')[0]
        seen.add(sid[:12])
        posted = await visitor.http.post(
            "/socket.io/", params={"EIO": "4", "transport": "polling", "sid": sid}, content="40/nowhere,"
        )
        assert (posted.status_code, posted.text) == (200, "ok")
        assert (await visitor.poll(sid=sid)).status_code == 200
    assert seen == set(compose.container_ids("gateway"))


async def test_a_forged_session_id_reaches_nothing_but_gateways(compose: Compose, visitor: Visitor) -> None:
    others = [compose.container_ids(service)[0] for service in ("auth", "chat")]
    for sid in [f"{container}.x" for container in others] + ["deadbeef0000.x"]:
        assert (await visitor.poll(sid=sid)).status_code in {502, 504}
    for sid in ("127.0.0.1.x", "auth.x", "localhost:22.x", "", "a" * 4000):
        answer = await visitor.poll(sid=sid)
        # Not of the form of an id: some gateway answers, which knows no such session.
        assert answer.status_code == 400 or (sid == "" and answer.status_code == 200)


async def test_clients_cannot_choose_the_address_they_are_seen_with(visitor: Visitor) -> None:
    account = await visitor.account()
    visitor.http.headers["x-forwarded-for"] = "203.0.113.66"
    sid = (await visitor.poll()).text.split('"sid":"')[1].split('"')[0]
    connect = "40/chat," + json.dumps({"token": account["access_token"]})
    await visitor.http.post("/socket.io/", params={"EIO": "4", "transport": "polling", "sid": sid}, content=connect)
    assert (await visitor.poll(sid=sid)).text.startswith("40/chat,")
    listed = (await visitor.admin("GET", "/connections"))["connections"]
    addresses = {connection["address"] for connection in listed if connection["user_id"] == account["user_id"]}
    assert len(addresses) == 1
    assert "203.0.113.66" not in addresses


async def test_the_page_is_served_and_metrics_are_not(visitor: Visitor) -> None:
    assert "<title>Parley</title>" in (await visitor.http.get("/")).text
    assert (await visitor.http.get("/socket.io.min.js")).headers["content-encoding"] == "gzip"
    assert (await visitor.http.get("/metrics")).status_code == 404


@pytest.mark.parametrize("service", ["auth", "chat", "gateway"])
def test_production_refuses_to_start_without_its_secrets(compose: Compose, service: str) -> None:
    for given, said in (
        ("PARLEY_NATS_PASSWORD_FILE=", "refusing to start in production: PARLEY_NATS_PASSWORD is not set"),
        ("PARLEY_NATS_PASSWORD_FILE=/nowhere", "PARLEY_NATS_PASSWORD_FILE: cannot read /nowhere"),
    ):
        refused = compose.try_run("run", "--rm", "--no-deps", "-T", "--env", given, service)
        assert refused.returncode != 0
        assert said in refused.stdout + refused.stderr


def test_every_container_may_as_little_as_it_needs(compose: Compose) -> None:
    identifiers = compose.run("ps", "--quiet").split()
    inspected = json.loads(compose.docker("inspect", *identifiers))
    kept: dict[str, list[str]] = {"postgres": ["CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"]}
    for container in inspected:
        service, host = container["Config"]["Labels"]["com.docker.compose.service"], container["HostConfig"]
        assert host["ReadonlyRootfs"], service
        assert host["CapDrop"] == ["ALL"], service
        assert sorted(one.removeprefix("CAP_") for one in host["CapAdd"] or []) == kept.get(service, []), service
        assert host["SecurityOpt"] == ["no-new-privileges:true"], service
        assert host["Memory"] > 0, service
        assert host["PidsLimit"] > 0, service
        assert container["State"]["Health"]["Status"] == "healthy", service
        assert service == "postgres" or container["Config"]["User"] not in {"", "0", "root"}, service
    assert {one["Config"]["Labels"]["com.docker.compose.service"] for one in inspected} == {
        "nginx", "gateway", "auth", "chat", "nats", "postgres",
    }  # fmt: skip


def test_no_service_sees_the_secrets_of_another(compose: Compose) -> None:
    own = {
        "gateway": {"nats-password"},
        "chat": {"nats-password", "database-password"},
        "auth": {"nats-password", "database-password", "admin-password"},
    }
    for service, files in own.items():
        assert set(compose.run("exec", "-T", service, "ls", "/run/parley").split()) == files
        assert "password@" not in compose.run("exec", "-T", service, "env").lower()


def test_without_a_word_about_where_it_is_published_on_this_machine_alone(compose: Compose) -> None:
    configured = compose.try_run("config", "--format", "json", PARLEY_PUBLISH="")
    (port,) = json.loads(configured.stdout)["services"]["nginx"]["ports"]
    assert (port["host_ip"], port["published"]) == ("127.0.0.1", "8080")


async def test_clients_of_gateways_that_die_go_on_with_the_others(compose: Compose, visitor: Visitor) -> None:
    """Last, because two gateways do not come back."""
    clients = [await visitor.client(await visitor.account(), kind) for kind in ("polling", "websocket") * 3]
    room = await make_room(*clients)
    dead = compose.container_ids("gateway")[1:]
    await asyncio.to_thread(subprocess.run, ["docker", "kill", *dead], check=True, capture_output=True)
    await persist(clients[0], "message.send", room=room, body="still here")
    for client in clients:
        await client.until(lambda c=client: "still here" in c.bodies(room), "the message", timeout=60)
