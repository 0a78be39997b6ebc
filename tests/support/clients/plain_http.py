"""HTTP without TLS."""

from __future__ import annotations

from typing import Any

import httpx


def plain_http(**options: Any) -> httpx.AsyncClient:
    """A client of servers on this machine. It loads no certificates, which would take longer than most tests."""
    return httpx.AsyncClient(verify=False, **options)
