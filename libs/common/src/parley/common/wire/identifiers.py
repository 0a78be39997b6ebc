"""Identifiers that are unique without coordination: of commands, requests and connections, and of processes."""

from __future__ import annotations

import os
import re
import secrets
import socket
from uuid import UUID

import uuid_utils.compat

_CONTAINER_ID = re.compile(r"[0-9a-f]{12}")


def uuid7() -> UUID:
    """Return a new UUID that sorts by its time (version 7, RFC 9562, section 5.7)."""
    return uuid_utils.compat.uuid7()


def instance_id(configured: str = "") -> str:
    """Return this process's name among its replicas: the configured one, else a random one.

    In a container whose host name is its short id, it is that id and the process id, by which nginx finds a gateway.
    Elsewhere the host's name is not used: clients see this name in their sids, and it is none of their business.
    """
    if configured:
        return configured
    host = socket.gethostname()
    if _CONTAINER_ID.fullmatch(host):
        return f"{host}{os.getpid()}"
    # A container's short id is hexadecimal, so it never begins with "p".
    return f"p{secrets.token_hex(4)}"
