"""What the auth service counts."""

from __future__ import annotations

from prometheus_client import Counter

from parley.common.errors import Reject

AUTHENTICATIONS = Counter("parley_auth_authentications", "Tokens checked, by outcome", ["outcome"])
LOGINS = Counter("parley_auth_logins", "Logins, by outcome", ["outcome"])
KICKS_SENT = Counter("parley_auth_kicks", "Kicks sent, by what the client is told", ["code"])
KICKED_CONNECTIONS = Counter("parley_auth_kicked_connections", "Connections ended by kicks")
MAILS = Counter("parley_auth_mails", "Mails, by what became of them", ["outcome"])


class outcome:  # noqa: N801 - used as a statement
    """Count a block under `ok`, the code it was rejected with, or `internal`."""

    __slots__ = ("_counter",)

    def __init__(self, counter: Counter) -> None:
        self._counter = counter

    def __enter__(self) -> None:
        return

    def __exit__(self, _kind: type[BaseException] | None, error: BaseException | None, _trace: object) -> None:
        label = "ok" if error is None else str(error.code) if isinstance(error, Reject) else "internal"
        self._counter.labels(label).inc()
