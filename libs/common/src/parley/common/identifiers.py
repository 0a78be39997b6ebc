"""Identifiers: time-ordered, unique without coordination, and validated where people choose them."""

from __future__ import annotations

import os
import re
import socket
from uuid import UUID

import uuid_utils.compat

_UNSAFE = re.compile(r"[^A-Za-z0-9]+")


def uuid7() -> UUID:
    """A new time-ordered UUID (version 7)."""
    return uuid_utils.compat.uuid7()


def instance_id(configured: str = "") -> str:
    """This process's name among its replicas: as configured, else the host's name and the process id."""
    if configured:
        return configured
    host = _UNSAFE.sub("", socket.gethostname())[:32] or "host"
    return f"{host}{os.getpid()}"
