"""What mails say: whose account, and nothing that somebody else could have put into them."""

from __future__ import annotations

import pytest

from parley.auth.mail import letters
from parley.auth.mail.letters import Letter

TOKEN = "t" * 32
PUBLIC = "https://chat.example.com"


@pytest.mark.parametrize(("letter", "purpose"), [(letters.verification, "verify"), (letters.reset, "reset")])
def test_a_letter_names_the_account_and_links_only_to_the_configured_address(letter: object, purpose: str) -> None:
    assert callable(letter)
    with_link, without = letter("alice", TOKEN, PUBLIC), letter("alice", TOKEN, "")
    assert isinstance(with_link, Letter)
    assert isinstance(without, Letter)
    assert f"  {PUBLIC}/#{purpose}={TOKEN}\n" in with_link.text
    assert "http" not in without.text
    for each in (with_link, without):
        assert "'alice'" in each.text
        assert each.text.count(f"with this code:\n\n  {TOKEN}\n") == 1
        assert TOKEN not in each.subject


def test_a_mail_has_the_headers_that_keep_it_from_being_answered() -> None:
    mail = letters.message("parley@example.com", "alice@example.org", letters.notice("alice", "Something changed."))
    assert mail["Auto-Submitted"] == "auto-generated"
    assert max(map(len, mail.get_content().splitlines())) < 120
