"""What HTTP connections may cost: counted by address, ended when they are late, begun in turns."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from parley.common.http.addresses import address_key, network_key, normal_origin
from parley.common.http.connection.gate import (
    DISCARDS_PER_TURN,
    PARSED_PER_TURN,
    REQUESTS_PER_TURN,
    HttpGate,
    HttpLimits,
)
from parley.common.http.forwarded import RequestSource, TrustedProxies


class Connection:
    """A connection that notes what it took too long over."""

    def __init__(self) -> None:
        self.late: list[str] = []

    def expired(self, limit: str) -> None:
        self.late.append(limit)


class Clock:
    """A loop whose time is moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0
        self.later: list[Any] = []
        self.soon: list[Any] = []

    def time(self) -> float:
        return self.now

    def call_later(self, _seconds: float, call: Any) -> None:
        self.later.append(call)

    def call_soon(self, call: Any) -> None:
        self.soon.append(call)

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        calls, self.later = self.later, []
        for call in calls:
            call()

    def turn(self) -> None:
        calls, self.soon = self.soon, []
        for call in calls:
            call()


def gate(**limits: Any) -> tuple[HttpGate, Clock]:
    clock = Clock()
    loop: Any = clock
    return HttpGate(HttpLimits(**limits), loop), clock


def test_a_connection_without_a_head_is_late_and_one_with_a_head_is_not():
    http, clock = gate(head_seconds=10)
    slow, quick = Connection(), Connection()
    for connection in (slow, quick):
        assert http.connected(connection, "a", proxy=False)
    http.heads.stop(quick)
    http.first_head(quick, "a")
    clock.pass_time(9.9)
    assert slow.late == []
    clock.pass_time(0.1)
    assert (slow.late, quick.late) == (["head_seconds"], [])
    clock.pass_time(100)
    assert slow.late == ["head_seconds"], "it is told once"


def test_a_connection_that_fails_to_end_keeps_no_other_from_its_deadline():
    class Failing(Connection):
        def expired(self, limit: str) -> None:
            super().expired(limit)
            raise OSError(limit)

    http, clock = gate(head_seconds=10)
    failing, other = Failing(), Connection()
    http.connected(failing, "a", proxy=False)
    http.connected(other, "a", proxy=False)
    with pytest.raises(OSError, match="head_seconds"):
        clock.pass_time(10)
    clock.pass_time(1)
    assert (failing.late, other.late) == (["head_seconds"], ["head_seconds"])


def test_nothing_is_swept_where_nobody_is_connected():
    http, clock = gate()
    connection = Connection()
    http.connected(connection, "a", proxy=False)
    http.first_head(connection, "a")
    http.disconnected(connection, "a")
    clock.pass_time(1)
    assert clock.later == []
    assert (http._connections, http._new, len(http.heads)) == ({}, {}, 0)


def test_an_address_has_so_many_connections_and_a_proxy_as_many_as_it_likes():
    http, _ = gate(per_address=2, new_per_address=10)
    assert [http.connected(Connection(), "a", proxy=False) for _ in range(3)] == [True, True, False]
    assert http.connected(Connection(), "b", proxy=False)
    http, _ = gate(per_address=2, new_per_address=10)
    assert [http.connected(Connection(), "a", proxy=True) for _ in range(5)] == [True] * 5


def test_even_a_proxy_has_so_many_connections_that_have_asked_nothing_yet():
    http, _ = gate(new_per_address=2)
    first = Connection()
    assert http.connected(first, "a", proxy=True)
    assert [http.connected(Connection(), "a", proxy=True) for _ in range(2)] == [True, False]
    http.first_head(first, "a")
    http.first_head(first, "a")
    assert http.connected(Connection(), "a", proxy=True)


def test_when_too_many_have_asked_nothing_the_one_that_waited_longest_goes():
    http, _ = gate(new_in_all=2)
    connections = [Connection() for _ in range(4)]
    for number, connection in enumerate(connections):
        assert http.connected(connection, str(number), proxy=False)
    assert [connection.late for connection in connections] == [["new_in_all"], ["new_in_all"], [], []]


def test_so_many_requests_begin_in_a_turn_and_addresses_take_turns():
    http, clock = gate()
    began: list[str] = []
    for number in range(3 * REQUESTS_PER_TURN):
        http.begin("flooder", lambda number=number: began.append(f"flooder {number}"))
    http.begin("other", lambda: began.append("other"))
    assert len(began) == REQUESTS_PER_TURN
    clock.turn()
    assert len(began) == 2 * REQUESTS_PER_TURN
    assert "other" in began[REQUESTS_PER_TURN : REQUESTS_PER_TURN + 2]
    for _ in range(3):
        clock.turn()
    assert [name for name in began if name != "other"] == [f"flooder {n}" for n in range(3 * REQUESTS_PER_TURN)]
    assert clock.soon == [], "nothing is scheduled where nothing waits"


async def test_a_request_that_fails_to_begin_stops_no_other():
    failures: list[Any] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: failures.append(context))
    try:
        http, began = HttpGate(HttpLimits(), loop), list[int]()
        for number in range(2 * REQUESTS_PER_TURN):
            http.begin("a", lambda number=number: began.append(1 // (number - REQUESTS_PER_TURN)))
        for _ in range(4):
            await asyncio.sleep(0)
    finally:
        loop.set_exception_handler(None)
    assert (len(began), len(failures)) == (2 * REQUESTS_PER_TURN - 1, 1)


# -- addresses and origins ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::ffff", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("::1", "::/64"),
        ("", ""),
        ("not:an:address", "not:an:address"),
    ],
)
def test_an_ipv6_network_of_one_host_is_one_address(address: str, key: str):
    assert address_key(address) == key


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.77", "192.0.2"),
        ("2001:db8:1:2::9", "2001:db8:1::/48"),
        ("2001:db8:1:ffff::9", "2001:db8:1::/48"),
        ("::ffff:192.0.2.77", "192.0.2"),
        ("no:address", "no:address"),
        ("unknown", ""),
    ],
)
def test_a_network_is_where_a_provider_has_its_customers(address: str, network: str):
    assert network_key(address_key(address)) == network


@pytest.mark.parametrize(
    ("origin", "normal"),
    [
        ("https://chat.example.com", "https://chat.example.com"),
        ("wss://chat.example.com", "https://chat.example.com"),
        ("ws://Chat.Example.com:80", "http://chat.example.com"),
        ("HTTPS://chat.example.com:443", "https://chat.example.com"),
        ("https://chat.example.com:80", "https://chat.example.com:80"),
        ("http://[2001:db8::1]:80", "http://[2001:db8::1]"),
        ("capacitor://localhost", "capacitor://localhost"),
        ("null", "null"),
        ("*", "*"),
    ],
)
def test_origins_are_compared_in_one_form(origin: str, normal: str):
    assert normal_origin(origin) == normal


FORWARDED = [
    (b"host", b"inner"),
    (b"x-forwarded-for", b"198.51.100.7, 203.0.113.5"),
    (b"x-forwarded-proto", b"https, http"),
    (b"x-forwarded-host", b"chat.example.com, inner"),
]


@pytest.mark.parametrize(
    ("trusted", "headers", "client"),
    [
        ("10.0.0.1", FORWARDED, RequestSource("203.0.113.5", "https", "chat.example.com")),
        ("10.0.0.0/8, 203.0.113.0/24", FORWARDED, RequestSource("198.51.100.7", "https", "chat.example.com")),
        ("*", FORWARDED, RequestSource("198.51.100.7", "https", "chat.example.com")),
        ("192.0.2.1", FORWARDED, RequestSource("10.0.0.1", "http", None)),
        ("10.0.0.1", [(b"x-forwarded-proto", b"wss")], RequestSource("10.0.0.1", "https", None)),
        ("10.0.0.1", [(b"x-forwarded-proto", b"WS")], RequestSource("10.0.0.1", "http", None)),
        ("10.0.0.1", [(b"x-forwarded-proto", b"gopher")], RequestSource("10.0.0.1", "http", None)),
        ("10.0.0.1", [(b"x-forwarded-host", b"")], RequestSource("10.0.0.1", "http", None)),
        ("10.0.0.1", [], RequestSource("10.0.0.1", "http", None)),
    ],
)
def test_what_a_trusted_proxy_says_counts_and_what_others_say_does_not(
    trusted: str, headers: list[tuple[bytes, bytes]], client: RequestSource
):
    assert TrustedProxies(trusted).client("10.0.0.1", "http", headers) == client


def test_a_proxy_of_ipv4_is_trusted_also_where_a_socket_of_ipv6_names_it():
    proxies = TrustedProxies("10.0.0.0/8")
    headers = [(b"x-forwarded-for", b"203.0.113.5, ::FFFF:10.0.0.2")]
    assert "::ffff:10.0.0.1" in proxies
    assert proxies.client("::ffff:10.0.0.1", "http", headers) == RequestSource("203.0.113.5", "http")
    assert proxies.client("::ffff:192.0.2.1", "http", headers) == RequestSource("192.0.2.1", "http")
    assert proxies.client("::ffff:no", "http", headers) == RequestSource("::ffff:no", "http")


class Parser(Connection):
    """A connection that has something to be parsed for ever."""

    def __init__(self, gate: HttpGate, address: str = "a") -> None:
        super().__init__()
        self.gate = gate
        self.address = address
        self.turns = 0

    def parse_on(self) -> None:
        self.turns += 1
        self.gate.parsed(PARSED_PER_TURN // 4)
        self.gate.parse_later(self.address, self.parse_on)

    def discard_on(self) -> None:
        self.turns += 1
        self.gate.discard_later(self.address, self.discard_on)


def test_so_much_is_parsed_in_a_turn_one_connection_after_the_other():
    clock = Clock()
    gate = HttpGate(HttpLimits(), clock)  # pyright: ignore[reportArgumentType]
    parsers = [Parser(gate) for _ in range(8)]
    for parser in parsers:
        gate.parse_later("a", parser.parse_on)
    clock.turn()
    assert [parser.turns for parser in parsers] == [1] * 4 + [0] * 4
    assert gate.exhausted
    clock.turn()
    assert [parser.turns for parser in parsers] == [1] * 8


def test_addresses_have_their_turn_one_after_the_other_however_many_of_their_connections_wait():
    http, clock = gate()
    many, lone = [Parser(http) for _ in range(40)], Parser(http, "b")
    for parser in [*many, lone]:
        http.parse_later(parser.address, parser.parse_on)
    clock.turn()
    assert lone.turns == 2
    assert sum(parser.turns for parser in many) == 2


def test_of_those_who_were_refused_a_few_are_read_on_in_a_turn_and_one_address_after_the_other():
    http, clock = gate()
    many, lone = [Parser(http) for _ in range(40)], Parser(http, "b")
    for parser in [*many, lone]:
        http.discard_later(parser.address, parser.discard_on)
    for turns in range(1, 4):
        clock.turn()
        assert sum(parser.turns for parser in [*many, lone]) == turns * DISCARDS_PER_TURN
    assert lone.turns == 3 * DISCARDS_PER_TURN // 2


def test_one_refused_connection_too_many_ends_the_one_that_has_stayed_longest():
    http, _ = gate(lingering=2)
    first, second, third = (Connection() for _ in range(3))
    for connection in (first, second, third):
        http.linger(connection)
    assert [connection.late for connection in (first, second, third)] == [[""], [], []]


def test_too_much_held_in_sum_ends_who_has_held_longest():
    clock = Clock()
    gate = HttpGate(HttpLimits(held_bytes=10_000), clock)  # pyright: ignore[reportArgumentType]
    first, second, third = connections = [Connection() for _ in range(3)]
    for connection in connections:
        gate.holds(connection, 3_000)
    gate.holds(second, 0)
    gate.holds(second, 2_000)
    assert not any(connection.late for connection in connections)
    gate.holds(third, 6_000)
    assert [connection.late for connection in connections] == [["held_bytes"], [], []]
    gate.holds(third, 0)
    gate.holds(first, 8_000)
    assert [len(connection.late) for connection in connections] == [1, 0, 0]
