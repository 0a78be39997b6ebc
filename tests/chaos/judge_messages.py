"""What became of messages: as the log has them, as they are answered, as clients show them, and who was refused; pure.

| subject   | good is                                                                                                |
|-----------|--------------------------------------------------------------------------------------------------------|
| `right`   | what each event does was allowed by what stands before it in the log                                   |
| `message` | `history` answers what the log's events make of it                                                     |
| `text`    | what was deleted is nowhere any more, and what was not deleted is found                                |
| `view`    | a page that a client loaded once and applied events to is the page that it would load now              |
| `refusal` | there was a reason in the log, which came before the answer                                            |
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from tests.chaos.allowed import offences
from tests.chaos.history import Answer, Command, History, Room
from tests.chaos.present import crowds, differences, messages_of, same_page
from tests.chaos.streams import Finding
from tests.support.room_log import Logged, spans_of

NEVER = frozenset({"invalid_payload", "payload_too_large", "unknown_event", "id_conflict", "room_archived"})
"""Refusals that nothing deserves which is done here."""
REASONS = {"muted": "member.muted", "banned": "member.banned"}


def judge_messages(history: History) -> Iterator[Finding]:
    """All messages, and the views of them."""
    for name, room in history.rooms.items():
        for event, why in offences(room.log):
            yield Finding("right", "foreign", f"{name} {event.sequence}: {why}: {event}")
        yield from _present(name, room)
        yield from _erased(history, name, room)
    yield from _texts(history)
    crowded = {name: crowds(room.log) for name, room in history.rooms.items()}
    for view in history.views:
        where = f"{view.client} in {view.room}"
        if view.room not in history.rooms:
            yield Finding("view", "unverified", f"{where}: no log")
        elif view.head < view.loaded_head:
            yield Finding("view", "late", f"{where} is as of {view.head}, and {view.loaded_head} is there")
        else:
            why = same_page(view.events, view.loaded, crowded[view.room])
            yield Finding("view", "contradicted" if why else "good", f"{where} shows {why}")


def _present(name: str, room: Room) -> Iterator[Finding]:
    due = messages_of(room.log)
    answered = {event["sequence"]: event for event in room.messages}
    for sequence in sorted(due.keys() | answered.keys()):
        if sequence not in due:
            yield Finding("message", "foreign", f"{name} {sequence}: the log has no such message")
        elif sequence not in answered:
            yield Finding("message", "lost", f"{name} {sequence} is not answered")
        else:
            wrong = differences(due[sequence], answered[sequence])
            why = f"{name} {sequence}: {wrong} of {answered[sequence]}, by the log {due[sequence]}"
            yield Finding("message", "contradicted" if wrong else "good", why)


def _erased(history: History, name: str, room: Room) -> Iterator[Finding]:
    """Of deleted messages and their edits the log has no text any more, and of all others it has."""
    deleted = {event.data["message"] for event in room.log if event.type == "message.deleted"}
    for event in room.log:
        if event.type not in {"message.sent", "message.edited"}:
            continue
        command = history.commands.get(event.command)
        known = 0 if command is None else command.message
        message = event.sequence if event.type == "message.sent" else event.data.get("message", known)
        if event.erased and message and message not in deleted:
            yield Finding("text", "lost", f"{name} {event.sequence} is erased, and nobody deleted {message}")
        elif message in deleted and (not event.erased or event.body):
            yield Finding("text", "contradicted", f"{name} {event.sequence} has its text, and {message} is deleted")


def _texts(history: History) -> Iterator[Finding]:
    texts = history.texts
    if texts is None:
        yield Finding("text", "unverified", "nobody looked for deleted texts")
        return
    for text, places in texts.left.items():
        yield Finding("text", "contradicted", f"{text} was deleted, and is in {', '.join(places)}")
    for text in texts.missed:
        yield Finding("text", "lost", f"{text} is there, and is not found")
    for _ in range(texts.deleted + texts.present - len(texts.left) - len(texts.missed)):
        yield Finding("text", "good", "")


def judge_refusals(history: History) -> Iterator[Finding]:
    """Every command that was refused for good."""
    for command in history.commands.values():
        for answer in history.answers.get(command.id, ())[-1:]:
            if not answer.ok and command.room in history.rooms:
                why = _unjust(history, command, answer)
                where = f"{command.event} {command.id} of {command.user} in {command.room}: {answer.code}, {why}"
                yield Finding("refusal", "contradicted" if why else "good", where)


def _unjust(history: History, command: Command, answer: Answer) -> str:
    """Why a command should not have been refused so; '' if it should have been."""
    room = history.rooms[command.room]
    before = [event for event in room.log if _began(history, event) < answer.at]
    if answer.code in NEVER:
        return "which nobody gave a reason for"
    if answer.code == "conflict":
        if answer.version <= command.version:
            return f"with version {answer.version}, and {command.version} was named"
        there = any(
            event.type == "message.edited"
            and (event.erased or (event.data["message"], event.data["version"]) == (command.message, answer.version))
            for event in before
        )
        return "" if there else f"and nobody had made a version {answer.version}"
    if kind := REASONS.get(answer.code):
        there = any(event.type == kind and event.subject == command.user for event in before)
        return "" if there else f"and no {kind}"
    if answer.code in {"not_a_member", "not_found"}:
        gone = any(event.type == "message.deleted" and event.data["message"] == command.message for event in before)
        if answer.code == "not_found" and command.message and gone:
            return ""
        return "and was a member all the time" if _surely_in(history, room, command, answer) else ""
    return ""


def _surely_in(history: History, room: Room, command: Command, answer: Answer) -> bool:
    for span in spans_of(room.log, command.user):
        left = math.inf if span.left is None else _began(history, room.log[span.left - 1])
        if _ended(history, room.log[span.joined - 1]) < command.began and answer.at < left:
            return True
    return False


def _began(history: History, event: Logged) -> float:
    command = history.commands.get(event.command)
    return -math.inf if command is None else command.began


def _ended(history: History, event: Logged) -> float:
    """When it was certainly committed."""
    return min((answer.at for answer in history.answers.get(event.command, ()) if answer.ok), default=math.inf)
