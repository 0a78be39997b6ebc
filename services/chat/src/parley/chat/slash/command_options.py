"""What a slash command takes, and whether what a user says fits it, pure: users among it are looked up elsewhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec

from parley.common.errors import Code, Reject
from parley.common.wire.text import check_line, checked_text

# The look-ahead is there because Python's `$` also matches before a newline at the end.
CommandName = Annotated[str, msgspec.Meta(min_length=1, max_length=32, pattern=r"^[a-z0-9_-]+(?!\n)$")]
Description = Annotated[str, msgspec.Meta(max_length=100)]
OptionType = Literal["string", "integer", "number", "boolean", "user"]

MAX_OPTIONS = 25
MAX_CHOICES = 25
MAX_COMMAND = 4 * 1024
"""Bytes of a command with all that it takes, as JSON."""
MAX_SAID = 16 * 1024
"""Bytes of all that a user says with one invocation, as JSON."""
MAX_TEXT = 4000
"""Characters of one text among it."""
MAX_INTEGER = 2**53
"""Whole numbers are between this and its negative, so that JavaScript has them exactly."""


class CommandOption(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that a command takes. A text may have to be one of `choices`; a `user` is a member of the room."""

    name: CommandName
    type: OptionType
    description: Description = ""
    required: bool = False
    choices: Annotated[
        tuple[Annotated[str, msgspec.Meta(min_length=1, max_length=100)], ...], msgspec.Meta(max_length=MAX_CHOICES)
    ] = ()


class SlashCommand(msgspec.Struct, frozen=True, omit_defaults=True):
    """A command of a bot."""

    name: CommandName
    description: Description = ""
    options: Annotated[tuple[CommandOption, ...], msgspec.Meta(max_length=MAX_OPTIONS)] = ()

    def encoded(self) -> str:
        """Return it as JSON. Raises `Reject` for one that is too large, or makes no sense."""
        for text in (self.description, *(option.description for option in self.options)):
            check_line(text)
        if len({option.name for option in self.options}) < len(self.options):
            raise Reject(Code.INVALID_PAYLOAD, f"Two options of {self.name} have the same name.")
        for option in self.options:
            if option.choices and option.type != "string":
                raise Reject(Code.INVALID_PAYLOAD, "Only a text is one of some choices.")
            for choice in option.choices:
                check_line(choice)
        encoded = msgspec.json.encode(self)
        if len(encoded) > MAX_COMMAND:
            raise Reject(Code.PAYLOAD_TOO_LARGE, f"A command is at most {MAX_COMMAND} bytes.")
        return encoded.decode()


def check_said(said: dict[str, Any]) -> str:
    """Return what a user says to a command as JSON, always the same. Raises `Reject(payload_too_large)`."""
    encoded = msgspec.json.encode(said, order="sorted")
    if len(encoded) > MAX_SAID:
        raise Reject(Code.PAYLOAD_TOO_LARGE, f"Options are at most {MAX_SAID} bytes.")
    return encoded.decode()


def fit(options: Sequence[CommandOption], said: dict[str, Any]) -> list[str]:
    """Check what a user says against what a command takes. Returns the ids of users in it. Raises `Reject`."""
    known = {option.name: option for option in options}
    for name in said:
        if name not in known:
            raise Reject(Code.INVALID_PAYLOAD, "The command has no option of this name.")
    users: list[str] = []
    for option in options:
        if option.name not in said:
            if option.required:
                raise Reject(Code.INVALID_PAYLOAD, f"The option {option.name} is required.")
            continue
        value = said[option.name]
        if not _is_of(option, value):
            raise Reject(Code.INVALID_PAYLOAD, f"The option {option.name} is no {option.type} that it takes.")
        if option.type == "user":
            users.append(value)
    return users


def _is_of(option: CommandOption, value: Any) -> bool:
    # In Python a truth value is a whole number, too.
    if isinstance(value, bool):
        return option.type == "boolean"
    if isinstance(value, int):
        return option.type in ("integer", "number") and abs(value) <= MAX_INTEGER
    if isinstance(value, float):
        return option.type == "number" and math.isfinite(value)
    if not isinstance(value, str) or option.type not in ("string", "user"):
        return False
    checked_text(value)
    if option.type == "user":
        return 1 <= len(value) <= 128
    return len(value) <= MAX_TEXT and (not option.choices or value in option.choices)
