"""Histories for the judge's own tests: what happened in one room, as it should be, for faults to be planted in it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from tests.chaos.history import Answer, Command, History, Receipt, Room, Standing, Stay, Texts, Verified, View
from tests.chaos.judge import EVENT_OF, Verdict
from tests.support.chat.page_reducer import Page
from tests.support.room_log import Logged, members_of

ROOM = "r1"


@dataclass
class Story:
    """What happened in one room, a second apart; each step is told by its command's id, which is also its event's."""

    commands: dict[str, Command] = field(default_factory=dict[str, Command])
    answers: dict[str, list[Answer]] = field(default_factory=dict[str, list[Answer]])
    log: list[Logged] = field(default_factory=list[Logged])
    numbers: int = 0
    before: dict[int, Logged] = field(default_factory=dict[int, Logged])
    """Events whose texts were deleted, as they were."""

    def happens(self, user: str, event: str, subject: str = "", seconds: float = 0.1, **data: Any) -> Logged:
        """Somebody does something and it is acked after so many seconds."""
        sequence = len(self.log) + 1
        name, began = f"c{sequence}", float(sequence)
        says = event in {"message.send", "message.edit"}
        self.numbers += event == "message.send"
        body = f"text {sequence}" if says else ""
        about, version = data.get("message", 0), data.get("version", 1) - 1
        self.commands[name] = Command(
            name, user, ROOM, event, began, body, about, version, data.get("emoji", ""), subject
        )  # fmt: skip
        self.answers[name] = [Answer(name, began + seconds, ok=True, sequence=sequence, event_id=f"e{sequence}")]
        role = "owner" if event == "room.create" else data.get("role", "")
        if says:
            data["body"] = body
        number = self.numbers if event == "message.send" else 0
        at = f"2026-01-01T00:{sequence // 60:02}:{sequence % 60:02}Z"
        self.log.append(
            Logged(sequence, f"e{sequence}", EVENT_OF[event], user, name, subject or user, body, number, role, data, at)
        )
        if event == "message.delete":
            self._erase(about)
        return self.log[-1]

    def refused(self, user: str, event: str, code: str, newer: int = 0, **fields: Any) -> str:
        """Somebody is refused something after all that happened, an edit for a newer version; the command's id."""
        began = len(self.log) + 0.5
        name = f"x{len(self.commands)}"
        self.commands[name] = Command(name, user, ROOM, event, began, **fields)
        self.answers[name] = [Answer(name, began + 0.1, ok=False, code=code, version=newer)]
        return name

    def _erase(self, message: int) -> None:
        for place, event in enumerate(self.log):
            edit = event.type == "message.edited" and event.data.get("message") == message
            if edit or event.sequence == message:
                self.before[event.sequence] = event
                self.log[place] = replace(event, body="", data={}, erased=True)

    def page(self, reader: str = "") -> Page:
        """What `history` answers of the room."""
        page = Page({"events": [], "head": 0}, reader)
        for event in self.log:
            page.apply(_as_sent(self.before.get(event.sequence, event)))
        return page

    def history(self, *stays: Stay, **changes: object) -> History:
        """The history of it, as it should be but for what is changed."""
        members = members_of(self.log)
        messages = [event for event in self.page().events if event["type"] == "message.sent"]
        joined = sum(m.state == "joined" for m in members.values())
        room = Room(self.log, len(self.log), joined, members, messages=messages)
        whole = History(
            self.commands, self.answers, stays=stays, rooms={ROOM: room}, verified=Verified(1), began=0.0,
            ended=len(self.log) + 1.0, texts=Texts(),
        )  # fmt: skip
        return replace(whole, **changes)  # type: ignore[arg-type]

    def stay(self, user: str, sequences: Iterable[int], opened: float = 0.0, **more: object) -> Stay:
        """A connection on which these events arrived, each half a second after it was said."""
        receipts = [
            Receipt(self.commands[self.log[s - 1].command].began + 0.5, ROOM, s, self.log[s - 1].event_id)
            for s in sequences
        ]
        return replace(Stay(f"{user}#1", user, opened, receipts=receipts), **more)  # type: ignore[arg-type]

    def view(self, user: str) -> View:
        """What a client shows of all of the room, and would load."""
        shown, loaded = self.page(user), self.page(user)
        return View(f"{user}#1", user, ROOM, shown.head, shown.events, loaded.head, loaded.events)

    def standing(self, user: str, read: int, mentions: int = 0) -> Standing:
        """Where somebody is in the room who has read up to an event."""
        unread = sum(event.type == "message.sent" for event in self.log[read:])
        return Standing(user, ROOM, read, unread, mentions)


def _as_sent(event: Logged) -> dict[str, Any]:
    return {"type": event.type, "sequence": event.sequence, "event_id": event.event_id, "at": event.at,
            "actor": {"id": event.actor}, "data": dict(event.data)}  # fmt: skip


def bad(verdict: Verdict) -> set[tuple[str, str]]:
    """What is not good, by subject and outcome."""
    return {key for key, count in verdict.counts.items() if count and key[1] != "good"}
