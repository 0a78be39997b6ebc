"""The connections of one gateway, pure: found by sid, by user and by namespace."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from parley.common.wire.identity import Identity
from parley.gateway.connections.connection import Connection


class ConnectionRegistry:
    """All connections, by sid, by user and by namespace."""

    def __init__(self) -> None:
        self._by_sid: dict[str, Connection] = {}
        self._by_user: dict[str, set[Connection]] = {}
        self._by_namespace: dict[str, set[Connection]] = {}

    def __len__(self) -> int:
        return len(self._by_sid)

    def __iter__(self) -> Iterator[Connection]:
        # A copy, because connections come and go while their registry is iterated.
        return iter(list(self._by_sid.values()))

    def add(self, connection: Connection) -> None:
        """Register a connection. From now on a kick of its user finds it."""
        self._by_sid[connection.sid] = connection
        self._by_user.setdefault(connection.identity.user_id, set()).add(connection)
        self._by_namespace.setdefault(connection.namespace, set()).add(connection)

    def identify(self, connection: Connection, identity: Identity) -> None:
        """Register a connection under its user's confirmed identity, who may be another one than the token claimed."""
        if identity.user_id == connection.identity.user_id:
            connection.identity = identity
        else:
            self.remove(connection)
            connection.identity = identity
            self.add(connection)

    def rename(self, connection: Connection, sid: str) -> None:
        """Give a registered connection another sid, which no other connection has."""
        del self._by_sid[connection.sid]
        connection.sid = sid
        self._by_sid[sid] = connection

    def remove(self, connection: Connection) -> None:
        """Forget a connection. Doing it twice is harmless."""
        # Another one may have the sid by now: a recovered connection goes on under it.
        if self._by_sid.get(connection.sid) is connection:
            del self._by_sid[connection.sid]
        self._by_namespace.get(connection.namespace, set()).discard(connection)
        user_id = connection.identity.user_id
        if mine := self._by_user.get(user_id):
            mine.discard(connection)
            if not mine:
                del self._by_user[user_id]

    def get(self, sid: str) -> Connection | None:
        """Return the connection with this sid, or None."""
        return self._by_sid.get(sid)

    def of_user(self, user_id: str, namespace: str | None = None) -> list[Connection]:
        """Return a user's connections, in one namespace or in all."""
        mine = self._by_user.get(user_id, ())
        return [connection for connection in mine if namespace in (None, connection.namespace)]

    def in_namespace(self, namespace: str) -> Collection[Connection]:
        """Return the connections in one namespace. It is not a copy, so use it before the next `await`."""
        return self._by_namespace.get(namespace, ())
