"""What a User-Agent says, in short and for people: `Firefox on Linux`. Pure.

It is what the client claims, and serves for recognising one's own devices alone.
"""

from __future__ import annotations

MAX_NAME = 60
_BROWSERS = (
    ("Edg/", "Edge"),
    ("EdgA/", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
)
"""Marks of browsers, those first that name another one's mark as well."""
_SYSTEMS = (
    ("Windows", "Windows"),
    ("iPhone", "iOS"),
    ("iPad", "iPadOS"),
    ("Android", "Android"),
    ("Mac OS X", "macOS"),
    ("Linux", "Linux"),
)


def device_name(user_agent: str) -> str:
    """Return a name for what sent this header; empty for what sent none."""
    shown = "".join(character for character in user_agent if character.isprintable()).strip()
    if not shown.startswith("Mozilla/"):
        # A library or an app names itself first: `python-httpx/0.28.1`.
        return shown.split(" ", 1)[0][:MAX_NAME]
    browser = next((name for mark, name in _BROWSERS if mark in shown), "Browser")
    system = next((name for mark, name in _SYSTEMS if mark in shown), "")
    return f"{browser} on {system}" if system else browser
