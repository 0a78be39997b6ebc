"""The one exception of this package that users meet."""

from __future__ import annotations


class Failure(Exception):
    """An expected failure; its text, one line, is all the user needs to see."""
