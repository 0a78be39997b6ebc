"""What the auth service counts."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from prometheus_client import Counter

from parley.common.errors import Reject

AUTHENTICATIONS = Counter("parley_auth_authentications", "Tokens checked, by outcome", ["outcome"])
AUTHORIZATIONS = Counter("parley_auth_authorizations", "Standing identities checked again, by outcome", ["outcome"])
LOGINS = Counter("parley_auth_logins", "Logins, by outcome", ["outcome"])
KICKS = Counter("parley_auth_kicks", "Kicks sent, by what the client is told", ["code"])
KICKED_CONNECTIONS = Counter("parley_auth_kicked_connections", "Connections ended by kicks")


@contextmanager
def outcome(counter: Counter) -> Generator[None]:
    """Count a block under `ok`, the code it was rejected with, or `internal`."""
    label = "internal"
    try:
        yield
        label = "ok"
    except Reject as rejection:
        label = str(rejection.code)
        raise
    finally:
        counter.labels(label).inc()
