"""On the site, links that leave docs/ become the names of the files: they are in the repository, not on the site."""
# ruff: noqa: INP001

from __future__ import annotations

import posixpath
import re
from typing import Any

_LINK = re.compile(r"(?<!!)\[(?P<text>[^\]]*)\]\((?P<target>\.\./[^)#\s]+)(?:#[^)\s]*)?\)")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Called by MkDocs for each page."""
    folder = posixpath.dirname(page.file.src_uri)

    def named(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(folder, link["target"]))
        if not path.startswith("../"):
            return link[0]
        name = path.removeprefix("../")
        text = link["text"].strip("`")
        return f"`{name}`" if name.endswith(text) else f"{link['text']} (`{name}`)"

    return _LINK.sub(named, markdown)
