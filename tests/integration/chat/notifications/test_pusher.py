"""Web Push against a push service on this machine: of what is unread, once, to browsers that are still there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import http_ece
import httpcore
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from parley.chat.consumers.runner import _log_event
from parley.chat.delivery.hints import NAMESPACE
from parley.chat.domain.membership import InviteUser, JoinRoom, LeaveRoom, UserRef
from parley.chat.domain.messages import SendMessage
from parley.chat.log.database import Pool
from parley.chat.log.event_store import recorded_row
from parley.chat.log.statements import EVENT_COLUMNS
from parley.chat.notifications import push_subscriptions
from parley.chat.notifications import pusher as pushing
from parley.chat.notifications.inbox import ReadNotifications
from parley.chat.notifications.notifier import Notifier
from parley.chat.notifications.push_subscriptions import SubscribePush, SubscriptionKeys, UnsubscribePush
from parley.chat.notifications.pusher import Pusher
from parley.chat.notifications.web_push import PushSigner, encode
from parley.common.errors import Code
from parley.common.http.guarded_fetch import PublicBackend, PublicFetcher, plain_backend
from parley.common.nats.bus import Bus
from parley.common.process.tasks import Tasks
from parley.common.wire import subjects
from parley.common.wire.identity import CheckWelcome, Identity, Unwelcome, UnwelcomeUsers
from parley.framework import RoomPublisher
from tests.support.bus import rejected, running_bus
from tests.support.chat.writing import ANN, BEN, create, running_writer, send
from tests.support.waiting import until

SIGNER = PushSigner(encode((7).to_bytes(32, "big")), "mailto:a@b.example")
PUBLIC = "93.184.215.14"


class Auth:
    """What auth answers: who subscribed before `revoked` or by an `ended` login is refused; everybody with `banned`."""

    def __init__(self) -> None:
        self.revoked = 0.0
        self.banned = False
        self.ended: set[str] = set()

    async def check(self, request: CheckWelcome) -> UnwelcomeUsers:
        code = "banned" if self.banned else "revoked_token"
        refused = [
            Unwelcome(position, code, "")
            for position, held in enumerate(request.held)
            if self.banned or held.issued_at < self.revoked or held.login in self.ended
        ]
        return UnwelcomeUsers(refused)


@pytest.fixture
def auth() -> Auth:
    return Auth()


@pytest.fixture
async def bus(own_nats: Any, auth: Auth) -> AsyncIterator[Bus]:
    """A NATS of the test's own, on which nobody else is auth."""
    async with running_bus(own_nats.url, "auth") as connected:
        await connected.respond(subjects.WELCOME, CheckWelcome, auth.check, "auth")
        yield connected


class Browser:
    """A browser with its keys, subscribed at one endpoint."""

    def __init__(self, name: str, host: str = "push.example") -> None:
        self.path = f"/{name}"
        self.endpoint = f"https://{host}/{name}"
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._secret = name.encode().ljust(16, b"-")[:16]
        point = self._key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        self.subscription = SubscribePush(self.endpoint, SubscriptionKeys(encode(point), encode(self._secret)))

    def read(self, body: bytes) -> dict[str, Any]:
        """What a push says to it."""
        plain = cast("Any", http_ece).decrypt(
            body, private_key=self._key, auth_secret=self._secret, version="aes128gcm"
        )
        return msgspec.json.decode(plain)


class Unencrypted(httpcore.AsyncNetworkStream):
    """A connection whose TLS is left out, since the service has no certificate."""

    def __init__(self, inner: httpcore.AsyncNetworkStream) -> None:
        self._inner = inner

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return await self._inner.read(max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._inner.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def start_tls(self, *_: Any, **__: Any) -> httpcore.AsyncNetworkStream:
        return self

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class PushService(httpcore.AsyncNetworkBackend):
    """A push service: keeps what it is sent, and answers with the status that a path has."""

    def __init__(self) -> None:
        self.got: list[tuple[str, dict[str, str], bytes]] = []
        self.statuses: dict[str, int] = {}
        self.addresses: dict[str, list[str]] = {}
        self.connected: list[str] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)}
        body = await reader.readexactly(int(headers["content-length"]))
        path = first.split()[1]
        self.got.append((path, headers, body))
        writer.write(f"HTTP/1.1 {self.statuses.get(path, 201)} X\r\ncontent-length: 0\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    async def connect_tcp(self, host: str, port: int, *args: Any, **options: Any) -> httpcore.AsyncNetworkStream:
        self.connected.append(host)
        return Unencrypted(await plain_backend().connect_tcp("127.0.0.1", self.port))

    async def resolve(self, host: str, _port: int) -> list[str]:
        return self.addresses.get(host, [PUBLIC])

    def to(self, browser: Browser) -> list[dict[str, Any]]:
        """What one browser was pushed."""
        return [browser.read(body) for path, _, body in self.got if path == browser.path]


@asynccontextmanager
async def running_push_service() -> AsyncGenerator[tuple[PushService, PublicFetcher]]:
    service = PushService()
    server = await asyncio.start_server(service.serve, "127.0.0.1", 0)
    service.port = server.sockets[0].getsockname()[1]
    fetcher = PublicFetcher(PublicBackend(service, service.resolve))
    try:
        yield service, fetcher
    finally:
        await fetcher.close()
        server.close()


class Scene:
    """A room of Ann's and Ben's, in which Ben is answered."""

    def __init__(self, pool: Pool, notifier: Notifier, writer: Any, room: str, bens: int) -> None:
        self.pool, self.notifier, self.writer, self.room, self.bens = pool, notifier, writer, room, bens
        self.answers = 0

    async def answer(self, count: int = 1, room: str = "", bens: int = 0) -> None:
        """Ann answers Ben, who is notified."""
        for _ in range(count):
            self.answers += 1
            command = SendMessage(f"a{self.answers}", room or self.room, f"answer {self.answers}", bens or self.bens)
            await self.writer.submit(command, ANN, "")
        rows = await self.pool.fetch(f"SELECT {EVENT_COLUMNS} FROM chat.events e ORDER BY room_id, sequence")
        await self.notifier.consume([_log_event(recorded_row(row)) for row in rows])

    async def due(self) -> bool:
        """Whether anything has still to be pushed."""
        return bool(await self.pool.fetchval("SELECT count(*) FROM chat.inboxes WHERE push_at IS NOT NULL"))


@asynccontextmanager
async def scene(url: str, pool: Pool, bus: Bus) -> AsyncGenerator[Scene]:
    async with running_writer(url) as (writer, _):
        room = await create(writer)
        await writer.submit(JoinRoom("j", room), BEN, "")
        bens = await send(writer, room, 1, BEN)

        async def nobody(_rooms: Any) -> dict[str, list[str]]:
            return {}

        yield Scene(pool, Notifier(pool, RoomPublisher(bus, NAMESPACE), 0.0, nobody), writer, room, bens)


@asynccontextmanager
async def pushing_to(
    pool: Pool, bus: Bus, fetcher: PublicFetcher, monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[None]:
    monkeypatch.setattr(pushing, "INTERVAL", 0.02)
    async with Tasks() as tasks:
        for number in range(2):
            tasks.forever(Pusher(pool, bus, SIGNER, fetcher).run(), name=f"pushes {number}")
        yield


async def test_what_is_unread_is_pushed_together_to_each_browser(
    database_url: str, pool: Pool, bus: Bus, monkeypatch: pytest.MonkeyPatch
):
    one, two = Browser("one"), Browser("two")
    async with scene(database_url, pool, bus) as play, running_push_service() as (service, fetcher):
        await play.answer()
        assert not await play.due(), "nobody has subscribed"
        for browser in (one, two):
            await push_subscriptions.subscribe(pool, BEN, browser.subscription)
        await play.answer(3)
        async with pushing_to(pool, bus, fetcher, monkeypatch):
            await until(lambda: len(service.got) == 2, "one push for each browser")
            assert service.to(one) == service.to(two)
            (push,) = service.to(one)
            assert (push["new"], push["unread"], push["notification"]["data"]["text"]) == (4, 4, "answer 4")
            headers = service.got[0][1]
            assert (headers["ttl"], headers["urgency"], len(headers["topic"])) == ("14400", "high", 24)
            await until(lambda: still(play.due), "it is noted")
            await play.answer()
            await until(lambda: len(service.got) == 4, "what comes later is pushed later")
            assert service.to(one)[1]["new"] == 1


async def test_browsers_of_before_a_revocation_are_forgotten_and_who_is_banned_is_pushed_nothing(
    database_url: str, pool: Pool, bus: Bus, auth: Auth, monkeypatch: pytest.MonkeyPatch
):
    thief, own = Browser("thief"), Browser("own")
    async with scene(database_url, pool, bus) as play, running_push_service() as (service, fetcher):
        await push_subscriptions.subscribe(pool, BEN, thief.subscription)
        auth.revoked = await pool.fetchval("SELECT extract(epoch FROM clock_timestamp())::float8")
        await push_subscriptions.subscribe(pool, BEN, own.subscription)
        auth.banned = True
        await play.answer()
        async with pushing_to(pool, bus, fetcher, monkeypatch):
            await until(lambda: still(play.due), "it was looked at")
            assert (service.got, len(await push_subscriptions.targets(pool, "u_ben"))) == ([], 2)
            auth.banned = False
            await play.answer()
            await until(lambda: service.got, "who is welcome again is pushed")
            await until(lambda: still(play.due), "it is noted")
        assert (len(service.to(own)), service.to(thief)) == (1, [])
        assert [target.endpoint for target in await push_subscriptions.targets(pool, "u_ben")] == [own.endpoint]


async def test_a_login_that_ends_ends_its_browser_until_another_subscribes_it(
    database_url: str, pool: Pool, bus: Bus, auth: Auth, monkeypatch: pytest.MonkeyPatch
):
    left, kept = Browser("left"), Browser("kept")
    logins = [Identity("u_ben", "Ben", issued_at=1_000.0, login=login) for login in ("s_left", "s_kept")]
    async with scene(database_url, pool, bus) as play, running_push_service() as (service, fetcher):
        for login, browser in zip(logins, (left, kept), strict=True):
            await push_subscriptions.subscribe(pool, login, browser.subscription)
        auth.ended = {"s_left"}
        await play.answer()
        async with pushing_to(pool, bus, fetcher, monkeypatch):
            await until(lambda: still(play.due), "it was pushed")
            assert (len(service.to(kept)), service.to(left)) == (1, [])
            assert [one.endpoint for one in await push_subscriptions.targets(pool, "u_ben")] == [kept.endpoint]
            # The next login in that browser subscribes it again; its keys are what they were.
            for browser in (left, kept):
                await push_subscriptions.subscribe(pool, logins[1], browser.subscription)
            await play.answer()
            await until(lambda: still(play.due), "it was pushed")
        assert (len(service.to(kept)), len(service.to(left))) == (2, 1)


async def still(due: Any) -> bool:
    return not await due()


async def test_what_was_read_or_may_not_be_seen_any_more_is_not_pushed(
    database_url: str, pool: Pool, bus: Bus, monkeypatch: pytest.MonkeyPatch
):
    browser = Browser("one")
    async with scene(database_url, pool, bus) as play, running_push_service() as (service, fetcher):
        await push_subscriptions.subscribe(pool, BEN, browser.subscription)
        private = await create(play.writer, command_id="p", kind="private")
        await play.writer.submit(InviteUser("i", private, UserRef("u_ben")), ANN, "")
        await play.writer.submit(JoinRoom("jp", private), BEN, "")
        bens = await send(play.writer, private, 5, BEN)
        await play.answer()
        await play.notifier.read(BEN, ReadNotifications(up_to=99))
        await play.answer(room=private, bens=bens)
        await play.writer.submit(LeaveRoom("l", private), BEN, "")
        assert await play.due()
        async with pushing_to(pool, bus, fetcher, monkeypatch):
            await until(lambda: still(play.due), "it was looked at")
            assert service.got == []
            await play.answer()
            await until(lambda: service.got, "what is still unread is pushed")
        assert [push["notification"]["data"]["text"] for push in service.to(browser)] == ["answer 3"]


async def test_browsers_that_are_gone_are_forgotten_and_failures_are_not(
    database_url: str, pool: Pool, bus: Bus, monkeypatch: pytest.MonkeyPatch
):
    browsers = {status: Browser(str(status)) for status in (201, 404, 410, 429, 500)}
    trap = Browser("trap", "inner.example")
    async with scene(database_url, pool, bus) as play, running_push_service() as (service, fetcher):
        service.statuses = {browser.path: status for status, browser in browsers.items()}
        for browser in (*browsers.values(), trap):
            await push_subscriptions.subscribe(pool, BEN, browser.subscription)
        # By the time of the push, its name stands for another address.
        service.addresses["inner.example"] = [PUBLIC, "169.254.169.254"]
        await play.answer()
        async with pushing_to(pool, bus, fetcher, monkeypatch):
            await until(lambda: still(play.due), "all were tried")
        left = {target.endpoint for target in await push_subscriptions.targets(pool, "u_ben")}
        assert left == {browsers[status].endpoint for status in (201, 429, 500)}
        assert len(service.got) == 5
        assert set(service.connected) == {PUBLIC}


INNER = (
    "http://push.example/x", "https://169.254.169.254/x", "https://127.0.0.1/x", "https://[::1]/x", "https://localhost/x",
    "https://10.0.0.8/x", "https://push.example:8443/x", "https://user@push.example/x", "ftp://push.example/x",
    "https://metadata.internal/x", "https://[::ffff:169.254.169.254]/x", "x", "https://a b/", "https://intranet/x",
    "https://localhost./x", "https://a.internal./x", "https://127.1/x", "https://0x7f.0.0.0x1/x",
)  # fmt: skip


async def test_endpoints_that_are_not_on_the_public_internet_are_refused(pool: Pool):
    for endpoint in INNER:
        subscription = SubscribePush(endpoint, Browser("x").subscription.keys)
        refused = await rejected(push_subscriptions.subscribe(pool, BEN, subscription))
        assert refused.code is Code.INVALID_PAYLOAD, endpoint
    assert await pool.fetchval("SELECT count(*) FROM chat.push_subscriptions") == 0


async def test_subscriptions_are_bounded_and_belong_to_who_subscribed_last(pool: Pool):
    browsers = [Browser(f"b{number}") for number in range(20)]
    for browser in browsers:
        await push_subscriptions.subscribe(pool, BEN, browser.subscription)
    endpoints = [target.endpoint for target in await push_subscriptions.targets(pool, "u_ben")]
    assert endpoints == [browser.endpoint for browser in browsers[4:]]
    await push_subscriptions.subscribe(pool, ANN, browsers[10].subscription)
    assert len(await push_subscriptions.targets(pool, "u_ben")) == 15
    await push_subscriptions.unsubscribe(pool, BEN, UnsubscribePush(browsers[10].endpoint))
    assert len(await push_subscriptions.targets(pool, "u_ann")) == 1, "only who has it may end it"
    await push_subscriptions.unsubscribe(pool, ANN, UnsubscribePush(browsers[10].endpoint))
    assert await push_subscriptions.targets(pool, "u_ann") == []
    bad = SubscribePush("https://push.example/x", SubscriptionKeys("x", "y"))
    assert (await rejected(push_subscriptions.subscribe(pool, BEN, bad))).code is Code.INVALID_PAYLOAD
