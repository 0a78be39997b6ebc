"""Terms: what a text is found by, in many scripts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from parley.chat.search.terms import MOST_TERMS, contains, folded, needed_terms, number_of, terms_of, units


def test_case_accents_and_compatibility_forms_are_folded():
    assert units("\uff28éllo WÖRLD, ﬁne Straße ŁÓDŹ na\u0131\u0308ve") == [
        "hello",
        "world",
        "fine",
        "strasse",
        "lodz",
        "naive",
    ]
    assert units("e-mail foo_bar don't 3.14") == ["e", "mail", "foo", "bar", "don", "t", "3", "14"]
    assert folded("İstanbul") == folded("istanbul")
    assert units("हिन्दी भाषा") == ["हिन्दी", "भाषा"], "vowel signs belong to their words"
    assert units("مُحَمَّد") == units("محمد")
    assert units("% _ ' ; -- \x07 👍") == []


def test_spaceless_scripts_are_signs_and_pairs_of_them():
    assert terms_of(units("東京都 and")) == ["東", "京", "東京", "都", "京都", "and"]
    assert terms_of(units("안녕")) == ["안", "녕", "안녕"]
    assert needed_terms(units("東京都")) == ["東京", "京都"]
    assert needed_terms(units("東")) == ["東"], "a single sign is looked up as such"
    assert needed_terms(["tower", "東"]) == ["tower", "東"]


def test_a_phrase_stands_side_by_side():
    text = units("The quick brown fox, 東京都に行く")
    assert contains(text, units("Quick BROWN"))
    assert contains(text, units("京都に"))
    assert not contains(text, units("quick fox"))
    assert not contains(text, units("ick brown"))


def test_terms_are_numbers_of_64_bits_and_bounded():
    assert number_of("a") == number_of("a") != number_of("b")
    assert all(-(2**63) <= number_of(str(n)) < 2**63 for n in range(1000))
    assert len(terms_of(units(" ".join(map(str, range(2 * MOST_TERMS)))))) == MOST_TERMS


@given(st.text(), st.text())
def test_any_text_is_found_by_each_of_its_parts(before: str, text: str):
    whole = units(f"{before} {text}")
    part = units(text)
    assert not part or contains(whole, part)
    assert set(needed_terms(part)) <= set(terms_of(whole))
    assert all(unit and " " not in unit for unit in whole)
