"""Tables of the documentation that are long and change as a whole: each stands between two marks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

END = "<!-- end -->"


def put(page: Path, begin: str, lines: Sequence[str]) -> None:
    """Put lines in the place of those between the mark `begin` and the next end."""
    table = "\n".join([begin, *lines, END])
    text = page.read_text("utf-8")
    page.write_text(re.sub(f"{re.escape(begin)}.*?{re.escape(END)}", lambda _: table, text, flags=re.DOTALL), "utf-8")
