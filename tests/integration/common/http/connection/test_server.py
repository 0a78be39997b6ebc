"""How every service reads HTTP, over real sockets: sizes, deadlines, pipelines, proxies."""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import struct
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from parley.common.http.connection.gate import HTTP_LIMITED, PARSED_PER_TURN, REQUESTS_PER_TURN, HttpGate, HttpLimits
from parley.common.http.connection.request_reader import PIECE_COST, REQUEST_COST, HttpProtocol
from parley.common.http.connection.request_turns import SLICE
from parley.common.http.connection.server import http_options
from parley.common.http.listening import bind
from tests.support.services.serving import listening
from tests.support.waiting import until

TIMEOUT = 10.0
QUICK = HttpLimits(head_seconds=0.2, body_seconds=0.2, linger_seconds=0.2)


class App:
    """Tells who asked for what, and notes how many are at it at once."""

    def __init__(self) -> None:
        self.bodies: list[int] = []
        self.gone = 0
        self.began: list[float] = []
        self.release = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.began.append(time.perf_counter())
        if scope["path"] == "/hold":
            await self.release.wait()
        if scope["path"] == "/stream":
            await self.release.wait()
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": b"x" * 1000, "more_body": True})
            while (await receive())["type"] != "http.disconnect":
                pass
            self.gone += 1
            return
        size, more = 0, scope["path"] not in {"/early", "/hold"}
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.gone += 1
                return
            size += len(message["body"])
            more = message["more_body"]
        self.bodies.append(size)
        headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        told = {
            "path": scope["path"], "client": scope["client"][0], "scheme": scope["scheme"], "host": headers.get("host"),
            "cookie": len(headers.get("cookie", "")), "size": size,
        }  # fmt: skip
        body = b"x" * 10_000_000 if scope["path"] == "/large" else json.dumps(told).encode()
        await send({
            "type": "http.response.start", "status": 200, "headers": [(b"content-length", str(len(body)).encode())]
        })  # fmt: skip
        await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def serving(
    limits: HttpLimits | None = None, *, trusted: str = "127.0.0.1", keep_alive: int = 75,
    bound: socket.socket | None = None,
) -> AsyncGenerator[tuple[App, int]]:  # fmt: skip
    app = App()
    options: dict[str, Any] = http_options(trusted, limits=limits, keep_alive=keep_alive)
    async with listening(app, bound, lifespan="off", ws="none", **options) as port:
        try:
            yield app, port
        finally:
            app.release.set()


class Wire:
    """A connection of which every byte is written by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    @asynccontextmanager
    async def open(cls, port: int) -> AsyncGenerator[Wire]:
        wire = cls(*await asyncio.open_connection("127.0.0.1", port, limit=2**25))
        try:
            yield wire
        finally:
            wire.writer.transport.abort()

    def send(self, *lines: str, body: bytes = b"") -> None:
        self.writer.write("\r\n".join([*lines, "", ""]).encode("latin-1") + body)

    async def answer(self) -> tuple[int, Any]:
        async with asyncio.timeout(TIMEOUT):
            status, *headers = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            fields = dict(header.lower().split(": ", 1) for header in headers if header)
            return int(status.split()[1]), json.loads(await self.reader.readexactly(int(fields["content-length"])))

    async def closed(self) -> bytes:
        """Wait until the server closes. Returns what it said before."""
        said = b""
        async with asyncio.timeout(TIMEOUT):
            try:
                while data := await self.reader.read(65536):
                    said += data
            except ConnectionError:
                pass
        return said


def limited(limit: str) -> float:
    return HTTP_LIMITED.labels(limit)._value.get()


async def began(app: App, count: int) -> None:
    """Wait until the app has so many requests."""
    await until(lambda: len(app.began) >= count, "so many requests have begun", seconds=TIMEOUT)


def connections() -> list[HttpProtocol]:
    """The connections that there are."""
    return [found for found in gc.get_objects() if isinstance(found, HttpProtocol) and found._counted]


GET = ("GET / HTTP/1.1", "Host: x")


# -- sizes -------------------------------------------------------------------------------------------------------------


async def test_a_head_may_have_thirty_kilobytes_of_cookies_and_not_much_more():
    async with serving() as (_, port), Wire.open(port) as wire:
        wire.send(*GET, "Cookie: a=" + "x" * 30_000)
        status, told = await wire.answer()
        assert (status, told["cookie"]) == (200, 30_002)
        before = limited("head_bytes")
        wire.send(*GET, "X: " + "x" * (32 * 1024 - 27 - len("X: \r\n")))
        assert (await wire.answer())[0] == 200, "a head of 32 KiB to the byte"
        wire.send(*GET, "X: " + "x" * (32 * 1024 - 26 - len("X: \r\n")))
        status, body = await wire.answer()
        assert (status, body["error"]["code"]) == (431, "payload_too_large")
        assert await wire.closed() == b""
        assert limited("head_bytes") == before + 1
    async with serving() as (_, port), Wire.open(port) as wire:
        wire.send("GET /" + "x" * 40_000 + " HTTP/1.1", "Host: x")
        assert (await wire.answer())[0] == 431


@pytest.mark.parametrize("endless", ["X: y\r\n", "x" * 1000, "\r\n"])
async def test_a_head_without_end_is_not_read_on(endless: str):
    async with serving(QUICK) as (app, port), Wire.open(port) as wire:
        wire.writer.write(b"" if endless == "\r\n" else b"GET / HTTP/1.1\r\nX: ")

        async def send_on() -> None:
            while True:
                wire.writer.write(endless.encode() * 100)
                await wire.writer.drain()
                await asyncio.sleep(0)

        with pytest.raises(ConnectionError):
            await asyncio.wait_for(send_on(), TIMEOUT)
        assert app.began == []


async def test_a_body_has_an_end_announced_or_not():
    async with serving(HttpLimits(body_bytes=1000)) as (app, port):
        async with Wire.open(port) as wire:
            wire.send("POST / HTTP/1.1", "Host: x", "Content-Length: 1000", body=b"x" * 1000)
            assert (await wire.answer())[1]["size"] == 1000
            wire.send("POST / HTTP/1.1", "Host: x", "Content-Length: 1001")
            assert (await wire.answer())[0] == 413
            assert await wire.closed() == b""
        async with Wire.open(port) as wire:
            wire.send(
                "POST / HTTP/1.1", "Host: x", "Transfer-Encoding: chunked", body=b"190\r\n" + b"x" * 400 + b"\r\n"
            )
            wire.writer.write((b"190\r\n" + b"x" * 400 + b"\r\n") * 2)
            assert (await wire.answer())[0] == 413
            assert await wire.closed() == b""
        assert (app.bodies, app.gone) == ([1000], 1)


@pytest.mark.parametrize(
    "besides", [b"0\r\nX: " + b"x" * 40_000, b"0\r\n" + b"X: y\r\n" * 7_000, b"1;" + b"x" * 40_000]
)
async def test_what_a_chunked_body_has_besides_its_bytes_has_an_end(besides: bytes):
    async with serving() as (app, port), Wire.open(port) as wire:
        before = limited("head_bytes")
        wire.send("POST / HTTP/1.1", "Host: x", "Transfer-Encoding: chunked", body=b"1\r\nx\r\n" + besides)
        status, body = await wire.answer()
        assert (status, body["error"]["code"]) == (431, "payload_too_large")
        assert await wire.closed() == b""
        assert limited("head_bytes") == before + 1
    assert (app.bodies, app.gone) == ([], 1)


async def test_trailers_are_no_headers():
    async with serving() as (_, port), Wire.open(port) as wire:
        for _ in range(2):
            trailers = b"Host: evil\r\n" * 200 + b"Cookie: a=b\r\n\r\n"
            wire.send("POST / HTTP/1.1", "Host: x", "Transfer-Encoding: chunked", body=b"1\r\nx\r\n0\r\n" + trailers)
            status, told = await wire.answer()
            assert (status, told["host"], told["cookie"], told["size"]) == (200, "x", 0, 1)


async def test_a_client_that_is_gone_unnoticed_keeps_no_other_from_its_deadline():
    async with serving(QUICK) as (app, port):
        async with Wire.open(port) as gone:
            # More than is read before the app takes it, so that nothing shows that the client is gone.
            gone.send("POST /hold HTTP/1.1", "Host: x", "Content-Length: 300000", body=b"x" * 200_000)
            await began(app, 1)
        before = limited("body_seconds")
        await until(lambda: limited("body_seconds") > before, "the body is late", seconds=TIMEOUT)
        async with Wire.open(port) as half:
            half.writer.write(b"GET / HTTP/1.1\r\n")
            assert (await half.answer())[0] == 408
        await until(lambda: not connections(), "their connections have ended", seconds=TIMEOUT)


async def test_what_is_answered_before_its_body_has_come_is_closed():
    async with serving() as (_, port), Wire.open(port) as wire:
        wire.send("POST /early HTTP/1.1", "Host: x", "Content-Length: 3000000", body=b"x" * 10)
        assert (await wire.answer())[0] == 200
        assert await wire.closed() == b""


# -- deadlines ---------------------------------------------------------------------------------------------------------


async def test_who_says_nothing_is_closed_and_who_says_half_is_told_why():
    async with (
        serving(QUICK) as (_, port),
        Wire.open(port) as silent,
        Wire.open(port) as half,
        Wire.open(port) as later,
    ):
        half.writer.write(b"GET / HTTP/1.1\r\nHo")
        later.send(*GET)
        assert (await later.answer())[0] == 200
        assert (await half.answer())[0] == 408
        assert await silent.closed() == b""
        # A kept connection may be idle for longer, but not in the middle of its next request.
        await asyncio.sleep(0.5)
        later.send(*GET)
        assert (await later.answer())[0] == 200
        later.writer.write(b"\r\n")
        later.writer.write(b"GET / HT")
        assert (await later.answer())[0] == 408


async def test_a_head_that_comes_byte_by_byte_has_no_more_time_than_another():
    async with serving(QUICK) as (_, port), Wire.open(port) as wire:

        async def drip() -> None:
            for byte in b"GET / HTTP/1.1\r\nX: " + b"x" * 10_000:
                wire.writer.write(bytes((byte,)))
                await wire.writer.drain()
                await asyncio.sleep(0.01)

        dripping = asyncio.ensure_future(drip())
        assert (await wire.answer())[0] == 408
        dripping.cancel()


async def test_a_body_that_does_not_come_is_answered_408():
    async with serving(QUICK) as (app, port), Wire.open(port) as wire:
        wire.send("POST / HTTP/1.1", "Host: x", "Content-Length: 1000", body=b"half")
        status, body = await wire.answer()
        assert (status, body["error"]["code"]) == (408, "timeout")
        assert await wire.closed() == b""
        assert app.gone == 1


async def test_who_does_not_read_an_answer_is_closed():
    async with serving(HttpLimits(answer_seconds=0.2)) as (app, port), Wire.open(port) as wire:
        before = limited("answer_seconds")
        transport: Any = wire.writer.transport
        transport.pause_reading()
        wire.send("GET /large HTTP/1.1", "Host: x")
        await until(lambda: limited("answer_seconds") != before, "the limit is counted", seconds=TIMEOUT)
        assert app.began


async def test_an_idle_connection_is_kept_as_long_as_configured():
    async with serving(keep_alive=1) as (_, port), Wire.open(port) as wire:
        wire.send(*GET)
        await wire.answer()
        began = time.monotonic()
        assert await wire.closed() == b""
        assert time.monotonic() - began > 0.7


# -- how many ----------------------------------------------------------------------------------------------------------


async def test_connections_that_ask_nothing_are_limited_for_every_address():
    async with serving(HttpLimits(new_per_address=2)) as (_, port), Wire.open(port) as one:
        async with Wire.open(port), Wire.open(port) as third:
            status, body = await third.answer()
            assert (status, body["error"]["code"]) == (429, "rate_limited")
            assert await third.closed() == b""
            one.send(*GET)
            assert (await one.answer())[0] == 200
        async with asyncio.timeout(TIMEOUT):
            status = 0
            while status != 200:
                async with Wire.open(port) as again:
                    again.send(*GET)
                    status, _ = await again.answer()


async def test_a_pipeline_is_answered_in_order_and_no_more_of_it_is_parsed_than_can_begin():
    async with serving() as (app, port), Wire.open(port) as wire:
        app.release.clear()
        count = 2000
        requests = b"".join(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % number for number in range(count))
        wire.send("GET /hold HTTP/1.1", "Host: x", body=requests)
        await until(lambda: app.began, "the request has begun", seconds=TIMEOUT)
        await asyncio.sleep(0.05)
        waiting = [task for task in asyncio.all_tasks() if "run_asgi" in repr(task)]
        assert len(app.began) == len(waiting) == 1
        app.release.set()
        assert (await wire.answer())[1]["path"] == "/hold"
        assert [(await wire.answer())[1]["path"] for _ in range(count)] == [f"/{number}" for number in range(count)]
        assert SLICE < len(requests) > REQUESTS_PER_TURN


async def test_what_was_asked_before_a_request_that_is_refused_is_answered_first():
    async with serving() as (app, port), Wire.open(port) as wire:
        wire.send("GET /hold HTTP/1.1", "Host: x")
        wire.send("POST / HTTP/1.1", "Host: x", f"Content-Length: {10**9}")
        await until(lambda: app.began, "the request has begun", seconds=TIMEOUT)
        app.release.set()
        assert (await wire.answer())[1]["path"] == "/hold"
        assert (await wire.answer())[0] == 413
        assert await wire.closed() == b""


async def test_bodies_and_heads_may_be_cut_anywhere():
    async with serving() as (_, port), Wire.open(port) as wire:
        one = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n" + b"x" * 5000
        chunked = (
            b"POST /b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + b"7d0\r\n" + b"y" * 2000 + b"\r\n"
        )
        data = (one + chunked + b"0\r\n\r\n" + b"GET /c HTTP/1.1\r\nHost: x\r\n\r\n") * 20
        for at in range(0, len(data), 1777):
            wire.writer.write(data[at : at + 1777])
            await wire.writer.drain()
        for _ in range(20):
            assert [(told["path"], told["size"]) for _, told in [await wire.answer() for _ in range(3)]] == [
                ("/a", 5000), ("/b", 2000), ("/c", 0)
            ]  # fmt: skip


async def test_a_malformed_request_is_answered_400():
    async with serving() as (_, port), Wire.open(port) as wire:
        wire.writer.write(b"what is this\r\n\r\n")
        assert (await wire.closed()).startswith(b"HTTP/1.1 400")


async def test_a_service_without_websockets_answers_an_upgrade_like_any_request():
    async with serving() as (_, port), Wire.open(port) as wire:
        wire.send(*GET, "Connection: Upgrade", "Upgrade: websocket")
        assert (await wire.answer())[0] == 200


# -- proxies -----------------------------------------------------------------------------------------------------------


async def test_only_a_trusted_proxy_says_who_asked_and_for_what():
    headers = [
        "X-Forwarded-For: 203.0.113.9", "X-Forwarded-Proto: https, http", "X-Forwarded-Host: chat.example.com, inner"
    ]  # fmt: skip
    async with serving() as (_, port), Wire.open(port) as wire:
        wire.send("GET / HTTP/1.1", "Host: inner", *headers)
        told = (await wire.answer())[1]
        assert (told["client"], told["scheme"], told["host"]) == ("203.0.113.9", "https", "chat.example.com")
    async with serving(trusted="192.0.2.1") as (_, port), Wire.open(port) as wire:
        wire.send("GET / HTTP/1.1", "Host: inner", *headers)
        told = (await wire.answer())[1]
        assert (told["client"], told["scheme"], told["host"]) == ("127.0.0.1", "http", "inner")


async def test_a_proxy_of_ipv4_is_trusted_on_a_socket_that_takes_both():
    with bind("::", 0) as both:
        async with serving(bound=both) as (_, port), Wire.open(port) as wire:
            wire.send(*GET)
            assert (await wire.answer())[1]["client"] == "127.0.0.1"
            wire.send(*GET, "X-Forwarded-For: 203.0.113.9")
            assert (await wire.answer())[1]["client"] == "203.0.113.9"


async def test_a_request_has_so_many_headers():
    async with serving() as (_, port), Wire.open(port) as wire:
        wire.send(*GET, *(f"x{number}: y" for number in range(127)))
        assert (await wire.answer())[0] == 200
        before = limited("headers")
        wire.send(*GET, *("a:" for _ in range(7_000)))
        status, body = await wire.answer()
        assert (status, body["error"]["code"]) == (431, "payload_too_large")
        assert await wire.closed() == b""
        assert limited("headers") == before + 1


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What a test counts, by turn of the gate: each begins a new number at the end."""
    counts, turn = [0], HttpGate._turn

    def begin(gate: HttpGate) -> None:
        counts.append(0)
        turn(gate)

    monkeypatch.setattr(HttpGate, "_turn", begin)
    return counts


async def test_heads_that_come_all_at_once_are_parsed_over_several_turns(
    turns: list[int], monkeypatch: pytest.MonkeyPatch
):
    parsed = HttpGate.parsed

    def count(gate: HttpGate, size: int) -> None:
        turns[-1] += size
        parsed(gate, size)

    monkeypatch.setattr(HttpGate, "parsed", count)
    async with serving() as (_, port), AsyncExitStack() as stack:
        wires = [await stack.enter_async_context(Wire.open(port)) for _ in range(20)]
        for wire in wires:
            wire.send(*GET, "X: " + "x" * 30_000)
        for wire in wires:
            assert (await wire.answer())[0] == 200
    assert sum(turns) >= 20 * 30_000
    assert max(turns) <= PARSED_PER_TURN + SLICE + REQUEST_COST


async def test_a_body_in_very_many_pieces_is_parsed_over_several_turns(
    turns: list[int], monkeypatch: pytest.MonkeyPatch
):
    on_body = HttpProtocol.on_body

    def count(connection: HttpProtocol, body: bytes) -> None:
        turns[-1] += 1
        on_body(connection, body)

    monkeypatch.setattr(HttpProtocol, "on_body", count)
    async with serving() as (app, port), AsyncExitStack() as stack:
        wires = [await stack.enter_async_context(Wire.open(port)) for _ in range(8)]
        for wire in wires:
            wire.send(
                "POST / HTTP/1.1", "Host: x", "Transfer-Encoding: chunked", body=b"1\r\nx\r\n" * 5_000 + b"0\r\n\r\n"
            )
        for wire in wires:
            assert (await wire.answer())[0] == 200
        assert app.bodies == [5_000] * len(wires)
    assert max(turns) <= (PARSED_PER_TURN + SLICE) // PIECE_COST


async def test_an_idle_connection_keeps_nothing_of_the_request_before():
    async with serving() as (_, port), Wire.open(port) as wire:
        wire.send(*GET)
        await wire.answer()
        (kept,) = connections()
        assert (kept.cycle, kept.scope, kept.headers) == (None, {}, [])
        for _ in range(2):
            wire.send(*GET)
            assert (await wire.answer())[0] == 200


async def test_a_request_whose_head_has_begun_when_the_one_before_is_answered_is_read_on():
    async with serving() as (app, port), Wire.open(port) as wire:
        wire.send("GET /hold HTTP/1.1", "Host: x", body=b"GET /next HTTP/1.1\r\nHost: half")
        await began(app, 1)
        await until(
            lambda: all(connection._in_head for connection in connections()), "all are within a head", seconds=TIMEOUT
        )
        app.release.set()
        assert (await wire.answer())[1]["path"] == "/hold"
        wire.send("")
        told = (await wire.answer())[1]
        assert (told["path"], told["host"]) == ("/next", "half")


async def test_what_incomplete_requests_hold_is_bounded_in_sum():
    async with serving(HttpLimits(held_bytes=80_000)) as (_, port), AsyncExitStack() as stack:
        wires = [await stack.enter_async_context(Wire.open(port)) for _ in range(4)]
        for wire in wires:
            wire.writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 25_000)
        async with asyncio.timeout(TIMEOUT):
            assert await next(asyncio.as_completed([wire.closed() for wire in wires])) == b""


async def test_what_waits_behind_an_answer_is_bounded_in_sum():
    async with (
        serving(HttpLimits(held_bytes=100_000)) as (app, port),
        Wire.open(port) as wire,
        Wire.open(port) as other,
    ):
        wire.send("GET /hold HTTP/1.1", "Host: x")
        await began(app, 1)
        for _ in range(8):
            wire.send(*GET, "X: " + "x" * 25_000)
        assert await wire.closed() == b""
        other.send(*GET)
        assert (await other.answer())[0] == 200


async def test_a_request_hears_that_its_client_is_gone_though_others_wait_behind_it():
    async with serving() as (app, port):
        async with Wire.open(port) as wire:
            wire.send("GET /stream HTTP/1.1", "Host: x")
            wire.send(*GET)
            await began(app, 1)
            reset = struct.pack("ii", 1, 0)
            wire.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
        app.release.set()
        await until(lambda: app.gone, "the app is told", seconds=TIMEOUT)
        assert len(app.began) == 1, "nobody waits for the others"


async def test_what_is_wrong_behind_an_answered_request_is_not_answered_again():
    async with serving() as (_, port), Wire.open(port) as wire:
        wire.send("POST /early HTTP/1.1", "Host: x", "Transfer-Encoding: chunked")
        assert (await wire.answer())[0] == 200
        wire.writer.write(b"0\r\n" + b"a:\r\n" * 200)
        assert await wire.closed() == b""


async def test_who_sends_all_of_a_body_that_is_too_large_before_reading_reads_why():
    async with serving(HttpLimits(body_bytes=1000)) as (_, port), Wire.open(port) as wire:
        wire.send("POST / HTTP/1.1", "Host: x", "Content-Length: 4000000")
        async with asyncio.timeout(TIMEOUT):
            for _ in range(40):
                wire.writer.write(b"x" * 100_000)
                await wire.writer.drain()
        status, body = await wire.answer()
        assert (status, body["error"]["code"]) == (413, "payload_too_large")
