"""What of a text is neither code nor a quote."""

from __future__ import annotations

import pytest

from parley.chat.domain.messages.mentions import calls, without_code_and_quotes


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("plain", "plain"),
        ("a `b` c", "a  c"),
        ("a ``b ` c`` d", "a  d"),
        ("one ` tick", "one ` tick"),
        ("a `b c` d ``e", "a  d ``e"),
        ("> said\nanswer", "\nanswer"),
        ("  > said\n>more\nanswer", "\n\nanswer"),
        ("before\n```py\n@all\n```\nafter", "before\n\nafter"),
        ("~~~\n@all\n```\n~~~\nafter", "\nafter"),
        ("```\n@all, for ever", ""),
        ("a > b", "a > b"),
    ],
)
def test_code_and_quotes_are_left_out(text: str, left: str):
    assert without_code_and_quotes(text) == left


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("@all", True), ("Hi @All!", True), ("(@all)", True), ("mail@all", False), ("@allan", False), ("@@all", False),
        ("`@all`", False), ("> @all", False), ("> @all\n@all", True), ("@here", False),
    ],
)  # fmt: skip
def test_everybody_is_called_by_a_word_of_its_own(text: str, said: bool):
    assert calls(text, "all") is said


@pytest.mark.parametrize("piece", ["`", "``` ", "\n```", "`a``b```c", "> ", "~~~\n", "@", "`" * 3 + "x"])
def test_no_text_takes_long(piece: str):
    # As long as a hundred messages: whatever is more than linear runs into the time limit of the tests.
    text = piece * (100 * 64 * 1024 // len(piece))
    assert len(without_code_and_quotes(text)) <= len(text)
