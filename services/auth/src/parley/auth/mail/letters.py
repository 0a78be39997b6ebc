"""What mails say. Pure.

A mail names the account, so that nobody confirms for somebody else what they did not ask for. Links are made of the
configured address alone: one made of a request's Host header would lead wherever the sender of the request likes.
"""

from __future__ import annotations

from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import NamedTuple

VERIFY_HOURS = 24
RESET_MINUTES = 60
"""As long as the window in which mails of one user are counted: who has no further mail has one that is still good."""


class Letter(NamedTuple):
    """A subject and a text, and for how many seconds it is worth being sent."""

    subject: str
    text: str
    good_for: float


def verification(username: str, token: str, public_url: str) -> Letter:
    """To the address that somebody says is theirs."""
    text = (
        f"The account {username!r} was given this e-mail address.\n\n"
        f"If that was you, confirm it while you are logged in as {username!r}"
        f"{_way(public_url, 'verify', token)}\n\n"
        f"It is good for {VERIFY_HOURS} hours. If it was not you, do nothing: the address will not be used.\n"
    )
    return Letter("Confirm your e-mail address", text, VERIFY_HOURS * 3600)


def already_used(username: str) -> Letter:
    """To an address that is somebody's, when another account is given it."""
    text = (
        f"Somebody tried to give another account this e-mail address. It is that of your account {username!r},\n"
        "and stays so. If it was you, take it from that account first. If not, there is nothing to do.\n"
    )
    return Letter("Your e-mail address is in use already", text, VERIFY_HOURS * 3600)


def reset(username: str, token: str, public_url: str) -> Letter:
    """To somebody who has forgotten their password."""
    text = (
        f"Somebody asked for a new password of the account {username!r}.\n\n"
        f"If that was you, choose one{_way(public_url, 'reset', token)}\n\n"
        f"It is good for {RESET_MINUTES} minutes and works once. If it was not you, do nothing: your password stays.\n"
    )
    return Letter("A new password", text, RESET_MINUTES * 60)


def notice(username: str, what: str) -> Letter:
    """To the owner of an account, of a change that they should know of. `what` is a sentence."""
    text = (
        f"{what}\n\n"
        f"The account is {username!r}. If this was not you, reset your password now and look at its sessions.\n"
    )
    return Letter("A change of your account", text, VERIFY_HOURS * 3600)


def message(sender: str, recipient: str, letter: Letter) -> EmailMessage:
    """Return a letter as it is sent."""
    made = EmailMessage()
    made["From"], made["To"], made["Subject"] = sender, recipient, letter.subject
    made["Date"] = formatdate()
    made["Message-ID"] = make_msgid(domain=sender.rpartition("@")[2] or "localhost")
    # So that no holiday notice comes back (RFC 3834).
    made["Auto-Submitted"] = "auto-generated"
    made.set_content(letter.text)
    return made


def _way(public_url: str, purpose: str, token: str) -> str:
    # What is behind # is sent to no server and stands in no log.
    link = f" here:\n\n  {public_url}/#{purpose}={token}\n\nor" if public_url else ""
    return f"{link} with this code:\n\n  {token}"
