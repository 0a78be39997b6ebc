"""How events are stored, pure: each type has a number and a version, and data of older versions are upcast when read.

Everything that reads the log reads through here, so the rest of the code only sees the current version of the data.
Version 0 is that of an erased event: its data are what `domain/erasure.py` left of them, and they are never upcast.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, get_args

import msgspec

from parley.chat.domain.events import EventData, NamedUser
from parley.chat.domain.room import ChatEvent

_json = msgspec.json.Encoder()
ERASED = 0
"""The stored version of an erased event."""


class StoredEvent(NamedTuple):
    """An event as the log has it: the number of its type, the version of its data, and the data as JSON."""

    number: int
    version: int
    data: bytes


class UnknownEvent(ValueError):
    """The log has an event that this version of the code does not know. A newer version wrote it."""


class Codec:
    """Encodes events of some types for the log, and reads what any earlier version wrote."""

    def __init__(self, types: Iterable[type[EventData]]) -> None:
        """Take the types of events.

        Raises `ValueError` if two of them have the same number or the same name, and for one that does not say what an
        erasure leaves of it.
        """
        known = list(types)
        for kind in known:
            _check_when_erased(kind)
        self._by_number = {kind.NUMBER: kind for kind in known}
        self._by_type = {kind.TYPE: kind for kind in known}
        if not len(self._by_number) == len(self._by_type) == len(known):
            raise ValueError("two types of events have one number or one name")

    def encode(self, event: EventData) -> StoredEvent:
        """Return what is stored of an event, in the current version."""
        return StoredEvent(event.NUMBER, 1 + len(event.UPCASTERS), _json.encode(event))

    def stored_as(self, name: str) -> tuple[int, int]:
        """Return the number of a type, and the current version of its data."""
        kind = self._by_type[name]
        return kind.NUMBER, 1 + len(kind.UPCASTERS)

    def kind(self, name: str) -> type[EventData]:
        """Return the type with this name. Raises `KeyError`."""
        return self._by_type[name]

    def upcast(self, stored: StoredEvent) -> tuple[str, bytes]:
        """Return the name of a stored event's type, and its data in the current version. Raises `UnknownEvent`."""
        kind = self._by_number.get(stored.number)
        # During an upgrade a newer replica writes what this one cannot read. It must stop here, and not guess.
        if kind is None or stored.version > 1 + len(kind.UPCASTERS):
            raise UnknownEvent(f"event of type {stored.number}, version {stored.version}")
        older = kind.UPCASTERS[stored.version - 1 :]
        if not older or stored.version == ERASED:
            return kind.TYPE, stored.data
        data: dict[str, Any] = msgspec.json.decode(stored.data)
        for upcaster in older:
            data = upcaster(data)
        # The data go through the type, so that they have the shape of what is stored today.
        return kind.TYPE, _json.encode(msgspec.convert(data, kind))

    def decode(self, stored: StoredEvent) -> EventData:
        """Return a stored event. Raises `UnknownEvent`."""
        name, data = self.upcast(stored)
        return self.read(name, data)

    def read(self, name: str, data: bytes) -> EventData:
        """Return the event of a type, from data of the current version."""
        return msgspec.json.decode(data, type=self._by_type[name])


def _check_when_erased(kind: type[EventData]) -> None:
    """Raise `ValueError` for a type of events that an erasure could leave too much or too little of."""
    if "WHEN_ERASED" not in vars(kind):
        raise ValueError(f"{kind.__name__} does not say what is left of it when it is erased")
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    names_users = {name for name, field in fields.items() if NamedUser in (field.type, *get_args(field.type))}
    rule = kind.WHEN_ERASED
    left = {*rule.keeps, *rule.room_texts}
    if names_users != left & {"user"}:
        raise ValueError(f"{kind.__name__} names a user elsewhere than in `user`, or does not keep whom it is about")
    needed = {name for name, field in fields.items() if field.required and rule.applied != "never"}
    if rule.message_text and not kind.IS_MESSAGE:
        needed, left = needed | {"message"}, left | {"message"}
    if not needed <= left <= fields.keys():
        raise ValueError(f"{kind.__name__} keeps too little to be applied, or a field that it does not have")


CODEC = Codec(get_args(ChatEvent))
