"""From ledgers to the history that is judged."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tests.chaos.history import Answer, Ban, Command, History, Reading, Receipt, Room, Stay
from tests.chaos.ledger import Evidence


def history_of(ledgers: Sequence[Evidence], rooms: Mapping[str, Room], began: float, ended: float) -> History:
    """What all ledgers say together. The first line of a client process's ledger names its users."""
    commands: dict[str, Command] = {}
    clients: dict[str, str] = {}
    answers: dict[str, list[Answer]] = defaultdict(list)
    stays: list[Stay] = []
    readings: list[Reading] = []
    bans: list[Ban] = []
    faults: list[tuple[float, float]] = []
    last_words = math.inf
    broken: set[str] = set()
    for ledger in ledgers:
        if not ledger.whole:
            broken |= {user for line in ledger.lines[:1] for user in line.get("users", ())} or {"everybody"}
        stays += _stays(ledger.lines)
        for line in ledger.lines:
            match line["kind"]:
                case "begin":
                    clients |= line.get("clients", {})
                case "command":
                    commands[line["id"]] = Command(
                        line["id"], line["user"], line["room"], line["event"], line["at"], line.get("body", "")
                    )
                case "answer":
                    answers[line["id"]].append(_answer(line))
                case "reading":
                    readings.append(
                        Reading(line["user"], line["room"], line["began"], line["at"], line["left"], line["last"])
                    )
                case "ban":
                    bans.append(Ban(**{name: line[name] for name in Ban.__dataclass_fields__}))
                case "last words":
                    last_words = line["at"]
                case "fault":
                    faults.append((line["began"], line["at"]))
                case _:
                    pass
    return History(
        commands, answers, clients, stays, readings, bans, rooms, faults, began, ended, last_words, frozenset(broken)
    )


def _answer(line: Mapping[str, Any]) -> Answer:
    answer = line["answer"]
    return Answer(
        line["id"], line["at"], answer["ok"], answer.get("error", {}).get("code", ""), answer.get("sequence", 0),
        answer.get("event_id", ""), line["attempts"],
    )  # fmt: skip


def _stays(lines: Iterable[Mapping[str, Any]]) -> list[Stay]:
    """The connections of the clients of one process, those of each client in order."""
    opened: dict[str, Mapping[str, Any]] = {}
    # What a client still has to read when its connection is gone came on that connection.
    latest: dict[str, tuple[list[Receipt], list[str]]] = defaultdict(lambda: ([], []))
    kicked: dict[str, float] = {}
    stays: list[Stay] = []

    def close(client: str, at: float | None) -> None:
        if (line := opened.pop(client, None)) is not None:
            said = line["cursors"], line["recovered"]
            stays.append(Stay(client, line["user"], line["at"], at, *said, *latest[client], kicked.pop(client, None)))

    for line in lines:
        client = line.get("client", "")
        match line["kind"]:
            case "opened":
                close(client, line["at"])
                opened[client], latest[client] = line, ([], [])
            case "closed":
                close(client, line["at"])
            case "event":
                latest[client][0].append(Receipt(line["at"], line["room"], line["sequence"], line["event_id"]))
            case "kicked":
                kicked[client] = line["at"]
            case "reset":
                latest[client][1].append(line["room"])
            case _:
                pass
    for client in list(opened):
        close(client, None)
    return stays
