"""The closed table of codes: whole, stable in name, and what a rejection tells its sender."""

from __future__ import annotations

import pytest

from parley.common.errors import MEANINGS, Code, Reject, known_code


@pytest.mark.parametrize("code", Code)
def test_every_code_has_a_meaning(code: Code):
    meaning = MEANINGS[code]
    assert meaning.message.endswith(".")
    assert 400 <= meaning.status < 600


def test_no_meaning_is_without_a_code():
    assert set(MEANINGS) == set(Code)


def test_what_may_pass_by_itself_is_retryable_and_what_the_sender_must_change_is_not():
    retryable = {code for code in Code if MEANINGS[code].retryable}
    assert retryable == {
        Code.RATE_LIMITED,
        Code.OVERLOADED,
        Code.TIMEOUT,
        Code.UNAVAILABLE,
        Code.CONNECT_TIMEOUT,
        Code.INTERNAL,
    }


@pytest.mark.parametrize("code", Code)
def test_a_code_is_known_by_its_name(code: Code):
    assert known_code(str(code), Code.INTERNAL) is code


@pytest.mark.parametrize("text", ["", "brand_new", "BANNED", "banned "])
def test_a_name_that_is_not_in_the_table_becomes_the_other_code(text: str):
    assert known_code(text, Code.KICKED) is Code.KICKED


def test_a_rejection_says_what_the_table_says_unless_told_otherwise():
    plain = Reject(Code.BANNED)
    assert plain.as_dict() == {"code": "banned", "message": MEANINGS[Code.BANNED].message, "retryable": False}
    assert plain.status == 403
    own = Reject(Code.BANNED, "until Monday", retryable=True)
    assert own.as_dict() == {"code": "banned", "message": "until Monday", "retryable": True}
    assert Reject(Code.TIMEOUT).retryable
    assert not Reject(Code.TIMEOUT, retryable=False).retryable
