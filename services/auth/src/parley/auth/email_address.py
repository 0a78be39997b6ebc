"""E-mail addresses: which are taken for one, and which are the same. Pure.

Addresses are ASCII (RFC 5321 with a dot-atom in front), domains of other scripts in their `xn--` form: so nothing can
look like another address, and no case folding of another alphabet makes two addresses one.
"""

from __future__ import annotations

import re

from parley.common.errors import Code, Reject

MAX_EMAIL = 254
MAX_LOCAL = 64
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ADDRESS = re.compile(rf"({_ATOM}(?:\.{_ATOM})*)@((?:{_LABEL}\.)+{_LABEL})")


def is_address(text: str) -> bool:
    """Return whether a text is an address that mail can be sent to.

    Of comments, quotes, names and line ends it has none.
    """
    found = _ADDRESS.fullmatch(text) if len(text) <= MAX_EMAIL else None
    return found is not None and len(found[1]) <= MAX_LOCAL


def mailbox_key(address: str) -> str:
    """Return what makes an address the same as another.

    The standard lets hosts tell `Bob` from `bob` before the `@`. None that people use does, and two accounts of one
    mailbox would be one too many.
    """
    return address.lower()


def require_address(text: str) -> str:
    """Return the address that somebody wrote. Raises `Reject(invalid_payload)`."""
    if not is_address(text):
        raise Reject(Code.INVALID_PAYLOAD, "This is no e-mail address.")
    return text
