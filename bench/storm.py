"""A thousand reactions a second on one message, in a room of a thousand clients on two gateways.

Half of the clients react, in turn, through one gateway; the other half hears it through the other one. The first are
counted and checked by the load generator: each must get each reaction once. Of the second the gateway says how many it
delivered. Beside it, the same number of plain messages a second in such a room.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
from chats import Database, TwoGateways, database, token, two_gateways
from clients import clients, connect, phase
from contestants import Surroundings
from machine import ALL_CORES, wait_until
from plan import PATIENCE, WARM_UP, Plan

Row = dict[str, Any]

CLIENTS = 1_000
RATE = 1_000
MOST_SECONDS = 8.0
"""A message has at most twenty kinds of reactions, so nobody reacts more often."""
REACTION = '42/chat,%m["reaction.add",{"id":"%t","room":"%g","message":{message},"emoji":":r%r:"}]'
MESSAGE = '42/chat,%m["message.send",{"id":"%um%m","room":"%g","body":"%t"}]'

_DELIVERED = re.compile(r"^parley_gateway_deliveries_total(?:\{[^}]*\})? ([0-9.e+]+)$", re.MULTILINE)


def storm(plan: Plan) -> Iterator[Row]:
    """Reactions, then plain messages, each on a new database."""
    for what in ("reactions", "messages"):
        with tempfile.TemporaryDirectory() as directory:
            around = Surroundings(Path(directory), Path(directory) / "lag", CLIENTS)
            with (
                database(around.directory / "postgres", ALL_CORES) as base,
                two_gateways(around, base) as servers,
            ):
                yield {"load": f"{RATE:,} {what}/s", **_measure(plan, around, base, servers, what)}


def _measure(plan: Plan, around: Surroundings, base: Database, servers: TwoGateways, what: str) -> Row:
    room, message = _room_with_message(servers.chat_port)
    (around.directory / "room").write_text(f"{room}\n")
    said = REACTION.replace("{message}", str(message)) if what == "reactions" else MESSAGE
    half = CLIENTS // 2
    hearing = replace(servers.server, port=servers.second_port, clients=_options(around, "hearing", half, half))
    reacting = replace(
        servers.server,
        message=said,
        clients=_options(around, "reacting", 0, half),
        stored=lambda: base.count("chat.events"),
    )
    seconds = min(plan.seconds, MOST_SECONDS)
    options = ("-d", str(seconds), "-u", str(WARM_UP), "-a", "-b", "-z", "1", "-w", f"r{RATE}")
    logs = [around.directory / f"{name}.log" for name in ("hearing", "load")]
    with (
        clients(hearing, ALL_CORES, logs[0], number=half, timeout=PATIENCE, options=("-I",)) as heard,
        clients(reacting, ALL_CORES, logs[1], number=half, timeout=PATIENCE, options=options) as load,
    ):
        connect(heard, half)
        connect(load, half)
        # Joins are events of the room as well: the second half heard some of the first.
        before, kept = _settled(servers.second_port), reacting.stored()
        load.begin()
        row = phase(load)
        sent = row["sent_in_all"]
        wait_until(lambda: _delivered(servers.second_port) - before >= sent * half, "all deliveries", PATIENCE)
        row["problems"] += _wrong(
            "deliveries of the second gateway", _delivered(servers.second_port) - before, sent * half
        )
        # All that the measured seconds brought went to both halves.
        row["deliveries_per_s"] = round(2 * row["deliveries_per_s"])
        row["problems"] += _wrong("rows", reacting.stored() - kept, sent)
    return row


def _wrong(what: str, found: int, expected: int) -> list[str]:
    return [] if found == expected else [f"{found} {what} instead of {expected}"]


def _options(around: Surroundings, name: str, first: int, number: int) -> tuple[str, ...]:
    tokens = around.directory / f"tokens-{name}"
    tokens.write_text("".join(f"{token(f'user{n}')}\n" for n in range(first, first + number)))
    return ("-K", str(tokens), "-R", str(around.directory / "room"))


def _room_with_message(chat_port: int) -> tuple[str, int]:
    headers = {"Authorization": f"Bearer {token('owner')}"}
    with httpx.Client(base_url=f"http://127.0.0.1:{chat_port}/api", headers=headers) as http:
        room = http.post("/rooms", json={"name": "Everybody", "kind": "public"}).raise_for_status().json()["room"]["id"]
        message = http.post(f"/rooms/{room}/messages", json={"body": "A message"}).raise_for_status().json()
    return room, message["sequence"]


def _delivered(port: int) -> int:
    found = _DELIVERED.search(httpx.get(f"http://127.0.0.1:{port}/metrics").text)
    return int(float(found[1])) if found else 0


def _settled(port: int) -> int:
    """What was delivered once nothing is any more. Raises `BenchError`."""
    seen = [-1]

    def still() -> bool:
        before, seen[0] = seen[0], _delivered(port)
        return before == seen[0]

    wait_until(still, "the joins to be over", PATIENCE)
    return seen[0]
