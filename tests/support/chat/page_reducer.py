"""The reference for clients: applies the events of a room to a page of its messages, as `history` answers it.

    page = Page(await history(room), reader="u_ann")
    for event in events_after(page.head):   # live, resumed, by `sync`, or the log itself
        page.apply(event)

Then `page.events` are what `history` would answer now, as far as back as the page went. `stale` says that it has to be
loaded again, which is so after `events.erased`. A message that is not on the page is not missed: what is about it
changes nothing.
"""

from __future__ import annotations

from typing import Any

Event = dict[str, Any]
FIRST_USERS = 5
QUOTED = 300


class Page:
    """Messages as they are now, in order, as of the event `head`."""

    def __init__(self, answer: dict[str, Any], reader: str) -> None:
        self.events: list[Event] = answer["events"]
        self.head: int = answer["head"]
        self.stale = False
        self._reader = reader
        self._by_sequence = {event["sequence"]: event for event in self.events}

    def apply(self, event: Event) -> None:
        """Apply one event. Those that the page is of already are left out."""
        if event["sequence"] <= self.head:
            return
        self.head = event["sequence"]
        data, erased = event["data"], event.get("erased", False)
        match event["type"]:
            case "message.sent":
                self._sent(event)
            case "events.erased":
                self.stale = True
            case "message.deleted":
                self._deleted(data["message"])
            case "message.pinned" | "message.unpinned":
                self._change(data["message"], pinned=event["type"] == "message.pinned")
            case "message.edited" | "reaction.added" | "reaction.removed" | "thread.followed" | "thread.unfollowed":
                # Of an erased one nothing is known, and nothing is left.
                if not erased:
                    self._amend(event)
            case _:
                self._add(event)

    def _amend(self, event: Event) -> None:
        data = event["data"]
        match event["type"]:
            case "message.edited":
                self._change(data["message"], body=data["body"], version=data["version"], edited_at=event["at"])
                self._quote_again(data["message"])
            case "reaction.added" | "reaction.removed":
                self._react(data, event["actor"], added=event["type"] == "reaction.added")
            case kind:
                if data["user"]["id"] == self._reader:
                    self._follow(data["thread"], follows=kind == "thread.followed")

    def _add(self, event: Event) -> None:
        self.events.append(event)
        self._by_sequence[event["sequence"]] = event

    def _sent(self, event: Event) -> None:
        event = event | {"data": dict(event["data"])}
        data = event["data"]
        self._add(event)
        if not event.get("erased"):
            data["version"] = 1
            if "reply_to" in data and (answered := self._by_sequence.get(data["reply_to"])) is not None:
                data["quote"] = _quote(answered)
        if (root := self._by_sequence.get(data.get("thread"))) is not None:
            thread = root["data"].setdefault("thread", {"replies": 0})
            thread["replies"] += 1
            thread["last_at"] = event["at"]

    def _present(self, sequence: int) -> Event | None:
        """A message that is on the page and not erased."""
        event = self._by_sequence.get(sequence)
        return None if event is None or event.get("erased") else event

    def _change(self, sequence: int, **fields: Any) -> None:
        if (event := self._present(sequence)) is not None:
            for name, value in fields.items():
                _set(event["data"], name, value)

    def _deleted(self, sequence: int) -> None:
        if (event := self._by_sequence.get(sequence)) is None:
            return
        thread = {"thread": event["data"]["thread"]} if "thread" in event["data"] else {}
        # The command's id goes as well, as everything by which one might learn the text.
        event |= {"data": {"deleted": True, **thread}, "id": "", "erased": True}
        self._quote_again(sequence)

    def _quote_again(self, sequence: int) -> None:
        for event in self.events:
            if event["type"] == "message.sent" and event["data"].get("quote", {}).get("sequence") == sequence:
                event["data"]["quote"] = _quote(self._by_sequence[sequence])

    def _react(self, data: dict[str, Any], actor: dict[str, Any], *, added: bool) -> None:
        if (event := self._present(data["message"])) is None:
            return
        kinds = {kind["emoji"]: kind for kind in event["data"].get("reactions", [])}
        kind = kinds.setdefault(data["emoji"], {"emoji": data["emoji"], "count": 0, "users": []})
        users = kind["users"]
        # Five are named. Who comes sixth is not, though one of the five may have left: somebody else is fifth by now.
        if added and len(users) == kind["count"] < FIRST_USERS:
            users.append(actor)
        elif not added:
            kind["users"] = [user for user in users if user["id"] != actor["id"]]
        kind["count"] += 1 if added else -1
        if actor["id"] == self._reader:
            _set(kind, "mine", added)
        standing = sorted((one for one in kinds.values() if one["count"]), key=lambda one: one["emoji"])
        event["data"].pop("reactions", None)
        if standing:
            event["data"]["reactions"] = standing

    def _follow(self, root: int, *, follows: bool) -> None:
        if (event := self._by_sequence.get(root)) is None:
            return
        thread = event["data"].setdefault("thread", {"replies": 0})
        _set(thread, "following", follows)
        if thread == {"replies": 0}:
            del event["data"]["thread"]


def _set(fields: dict[str, Any], name: str, value: Any) -> None:
    """Set a field, or leave it out where it says nothing."""
    if value is False:
        fields.pop(name, None)
    else:
        fields[name] = value


def _quote(event: Event) -> dict[str, Any]:
    if event.get("erased"):
        return {"sequence": event["sequence"], "deleted": True}
    return {"sequence": event["sequence"], "actor": event["actor"], "body": event["data"]["body"][:QUOTED]}
