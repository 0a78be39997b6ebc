"""From ledgers to the history that is judged."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tests.chaos.history import Answer, Ban, Command, History, Mark, Reading, Receipt, Room, Standing, Stay, View
from tests.chaos.ledger import Evidence


def history_of(ledgers: Sequence[Evidence], rooms: Mapping[str, Room], began: float, ended: float) -> History:
    """What all ledgers say together. The first line of a client process's ledger names its users."""
    commands: dict[str, Command] = {}
    clients: dict[str, str] = {}
    answers: dict[str, list[Answer]] = defaultdict(list)
    stays: list[Stay] = []
    readings: list[Reading] = []
    bans: list[Ban] = []
    meant: dict[str, Mark] = {}
    standings: list[Standing] = []
    views: list[View] = []
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
                    commands[line["id"]] = _command(line)
                case "answer":
                    answers[line["id"]].append(_answer(line))
                case "reading":
                    readings.append(
                        Reading(line["user"], line["room"], line["began"], line["at"], line["left"], line["last"])
                    )
                case "ban":
                    bans.append(Ban(**{name: line[name] for name in Ban.__dataclass_fields__}))
                case "mark":
                    meant[line["id"]] = Mark(line["user"], line["room"], line["at"], line["sequence"])
                case "marked" if line["answer"]["ok"]:
                    answer = line["answer"]
                    meant[line["id"]] = replace(
                        meant[line["id"]], answered=line["at"], sequence=answer["sequence"], unread=answer["unread"]
                    )
                case "standing":
                    standings.append(Standing(**{name: line[name] for name in Standing.__dataclass_fields__}))
                case "view":
                    views.append(View(**{name: line[name] for name in View.__dataclass_fields__}))
                case "last words":
                    last_words = line["at"]
                case "fault":
                    faults.append((line["began"], line["at"]))
                case _:
                    pass
    return History(
        commands, answers, clients, stays, readings, bans, _with_commands(rooms, answers), faults, began, ended,
        last_words, frozenset(broken), marks=list(meant.values()), standings=standings, views=views,
    )  # fmt: skip


def _with_commands(rooms: Mapping[str, Room], answers: Mapping[str, Sequence[Answer]]) -> dict[str, Room]:
    """The rooms. An event whose text is gone does not name its command any more; the ack of the command names it."""
    acked = {
        answer.event_id: answer.id for found in answers.values() for answer in found if answer.ok and answer.event_id
    }
    return {
        name: replace(
            room,
            log=[
                replace(event, command=acked.get(event.event_id, "")) if event.erased else event for event in room.log
            ],
        )
        for name, room in rooms.items()
    }


def _command(line: Mapping[str, Any]) -> Command:
    fields = line.get("fields", {})
    return Command(
        line["id"], line["user"], line["room"], line["event"], line["at"], fields.get("body", ""),
        fields.get("message", 0), fields.get("version", 0), fields.get("emoji", ""), _about(fields),
    )  # fmt: skip


def _about(fields: Mapping[str, Any]) -> str:
    user = fields.get("user", "")
    return user["id"] if isinstance(user, dict) else user


def _answer(line: Mapping[str, Any]) -> Answer:
    answer = line["answer"]
    return Answer(
        line["id"], line["at"], answer["ok"], answer.get("error", {}).get("code", ""), answer.get("sequence", 0),
        answer.get("event_id", ""), line["attempts"],
        answer.get("error", {}).get("data", {}).get("version", 0),
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
            ended = kicked.pop(client, None)
            stays.append(Stay(client, line["user"], line["at"], at, *said, *latest[client], ended, line["asked"]))

    def kick(client: str, at: float) -> None:
        if client in opened:
            kicked[client] = at
        elif gone := [number for number, stay in enumerate(stays) if stay.client == client]:
            # python-socketio hears of what one poll brought after the end that the same poll brought.
            stays[gone[-1]] = replace(stays[gone[-1]], kicked=at)

    for line in lines:
        client = line.get("client", "")
        match line["kind"]:
            case "opened":
                close(client, line["at"])
                opened[client], latest[client] = line, ([], [])
            case "closed":
                close(client, line["at"])
            case "event":
                about = tuple(line["about"]) if line.get("about") else None
                place = line["room"], line["sequence"], line["event_id"]
                latest[client][0].append(Receipt(line["at"], *place, about))
            case "kicked":
                kick(client, line["at"])
            case "reset":
                latest[client][1].append(line["room"])
            case _:
                pass
    for client in list(opened):
        close(client, None)
    return stays
