"""What slash commands take, and what is no answer to it."""

from __future__ import annotations

from typing import Any

import pytest

from parley.chat.slash.command_options import CommandOption, SlashCommand, check_said, fit
from parley.common.errors import Code, Reject

OPTIONS = (
    CommandOption("question", "string", required=True),
    CommandOption("days", "integer"),
    CommandOption("share", "number"),
    CommandOption("secret", "boolean"),
    CommandOption("kind", "string", choices=("open", "closed")),
    CommandOption("chair", "user"),
)


def test_what_fits_is_taken_and_its_users_are_named() -> None:
    said = {"question": "Tea?", "days": -3, "share": 1, "secret": False, "kind": "open", "chair": "u_ann"}
    assert fit(OPTIONS, said) == ["u_ann"]
    assert fit(OPTIONS, {"question": "x" * 4000, "share": 0.5}) == []


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"question": 1},
        {"question": None},
        {"question": {"a": []}},
        {"question": "nul \x00"},
        {"question": "x" * 4001},
        {"question": "a", "days": True},
        {"question": "a", "days": "2"},
        {"question": "a", "days": 1.5},
        {"question": "a", "days": 2**53 + 1},
        {"question": "a", "share": float("inf")},
        {"question": "a", "secret": 1},
        {"question": "a", "kind": "other"},
        {"question": "a", "chair": ""},
        {"question": "a", "chair": ["u_ann"]},
        {"question": "a", "more": 1},
    ],
)
def test_what_does_not_fit_is_refused(said: dict[str, Any]) -> None:
    with pytest.raises(Reject) as refused:
        fit(OPTIONS, said)
    assert refused.value.code is Code.INVALID_PAYLOAD


def test_what_is_said_is_bounded_and_the_same_in_any_order() -> None:
    assert check_said({"b": 1, "a": 2}) == check_said({"a": 2, "b": 1})
    with pytest.raises(Reject) as refused:
        check_said({"a": "x" * 17_000})
    assert refused.value.code is Code.PAYLOAD_TOO_LARGE


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ((CommandOption("a", "string"), CommandOption("a", "user")), Code.INVALID_PAYLOAD),
        ((CommandOption("a", "integer", choices=("1",)),), Code.INVALID_PAYLOAD),
        ((CommandOption("a", "string", "two\nlines"),), Code.INVALID_PAYLOAD),
        (
            tuple(CommandOption(f"a{n}", "string", choices=tuple(f"{m:0100}" for m in range(9))) for n in range(9)),
            Code.PAYLOAD_TOO_LARGE,
        ),
    ],
)
def test_a_command_that_makes_no_sense_is_refused(options: tuple[CommandOption, ...], code: Code) -> None:
    with pytest.raises(Reject) as refused:
        SlashCommand("poll", "", options).encoded()
    assert refused.value.code is code
