"""Identifiers: time-ordered, unique without coordination, and validated where people choose them."""

from __future__ import annotations

import os
import re
import secrets
import socket
from uuid import UUID

import uuid_utils.compat

_CONTAINER_ID = re.compile(r"[0-9a-f]{12}")


def uuid7() -> UUID:
    """A new time-ordered UUID (version 7)."""
    return uuid_utils.compat.uuid7()


def instance_id(configured: str = "") -> str:
    """This process's name among its replicas: as configured, else a random one.

    In a container whose host name is its short id, it is that and the process id: nginx finds a gateway by it. Anywhere
    else a host's name is nobody's business, and clients see this name in their sids.
    """
    if configured:
        return configured
    host = socket.gethostname()
    if _CONTAINER_ID.fullmatch(host):
        return f"{host}{os.getpid()}"
    # No container's short id begins so, whatever follows.
    return f"p{secrets.token_hex(4)}"
