"""Stock clients that write down what happens to them, and come back whatever ended them."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Any

from typing_extensions import override

from tests.chaos.ledger import Ledger
from tests.chaos.views import Views
from tests.support.clients.stock_clients import JsClient, PythonClient

NAMESPACE = "/chat"
OUTDATED = {"expired_token", "invalid_token", "revoked_token"}
"""Refusals after which a client gets a new token."""
UNNOTICED = "not noticed by the library"
"""Why a connection is closed of which its client would have said for ever that it is open."""


class RecordedPython(PythonClient):
    """python-socketio's client, with a ledger. It comes back by cursors.

    The library (5.18) sets `connected` only after the `connect` handlers have run. A connection that ends before that
    is not told to anybody, and is taken for open ever after: what is emitted is dropped, and each attempt to reconnect
    fails with "Already connected". Such a client is noticed here, as an app can notice it, and replaced.
    """

    def __init__(self, name: str, user: str, ledger: Ledger) -> None:
        super().__init__()
        self.name = name
        self.user = user
        self.outdated = False
        """Whether its token was refused."""
        self.views = Views(user)
        self._ledger = ledger
        self._seen: dict[str, int] = {}
        self._said: dict[str, int] = {}
        self._asked = 0.0
        """When it last said CONNECT."""
        self._starting: asyncio.Task[None] | None = None
        self._leaving: set[asyncio.Task[None]] = set()
        self._place = ("", [""])

    def begin(self, url: str, auth: dict[str, Any], transports: list[str]) -> None:
        """Connect, and go on trying."""
        self._place, self.auth = (url, transports), auth
        self.again()

    def again(self) -> None:
        """Connect anew, where the library has given up."""
        if NAMESPACE in self._sio.namespaces:
            self._ledger.write("closed", client=self.name, reason=UNNOTICED)
        # With another client, since a `disconnect` of the old one that is still under way may end what it has by then.
        self._leaving.add(leaving := asyncio.create_task(self._leave(self._sio, self._starting)))
        leaving.add_done_callback(self._leaving.discard)
        self._sio = self._new()
        url, transports = self._place
        self._starting = asyncio.create_task(self.start(url, NAMESPACE, self.auth, transports))

    @staticmethod
    async def _leave(client: Any, starting: asyncio.Task[None] | None) -> None:
        """See to it that nothing is heard any more of a client that another one follows."""
        client.handlers.clear()
        client.reconnection = False
        for task in (starting, client._reconnect_task):
            if task is not None:
                task.cancel()
        with suppress(Exception):
            await client.disconnect()

    @property
    def connected_now(self) -> bool:
        """Whether it is in its namespace, on a transport that is there."""
        return NAMESPACE in self._sio.namespaces and self._sio.eio.state == "connected"

    @property
    def given_up(self) -> bool:
        """Whether it does not try any more, or in vain."""
        trying = any(task is not None and not task.done() for task in (self._starting, self._sio._reconnect_task))
        return self._sio.eio.state == "disconnected" and (self._sio.connected or not trying)

    def renew(self, token: str) -> None:
        """Use another token from now on."""
        self.auth, self.outdated = {"token": token}, False

    async def part(self) -> None:
        """Lose the connection, and come back."""
        with suppress(Exception):  # whatever state it is in
            await self._sio.disconnect()

    def has(self, room: str, sequence: int | None) -> None:
        """Name this cursor unless an event of the room has come, or none for who has left."""
        if sequence is None:
            self._seen.pop(room, None)
        else:
            self._seen.setdefault(room, sequence)

    @override
    def _says(self) -> Any:
        self._said, self._asked = dict(self._seen), time.monotonic()
        return {**self.auth, "cursors": self._said}

    @override
    async def hear(self, event: str, args: list[Any]) -> None:
        if sequence := heard(self._ledger, self, event, args):
            self._seen[args[0]["room"]] = sequence

    @override
    async def note(self, where: list[Any], what: Any) -> None:
        if where is self.connects:
            opened(self._ledger, self, self._said, self._asked, recovered=False)
            for session in self._sessions[:-1]:
                await session.close()
            del self._sessions[:-1]
        elif where is self.disconnects:
            self._ledger.write("closed", client=self.name, reason=what)
        else:
            self.outdated = refused(self._ledger, self.name, what) in OUTDATED

    @override
    async def stop(self) -> None:
        self._sio.reconnection = False
        for task in (self._starting, self._sio._reconnect_task):
            if task is not None:
                task.cancel()
        with suppress(Exception):
            await super().stop()


class RecordedJs(JsClient):
    """npm's client, with a ledger. It comes back by recovery where it can, else by cursors."""

    def __init__(self, name: str, user: str, ledger: Ledger) -> None:
        super().__init__()
        self.name = name
        self.user = user
        self.outdated = False
        self.connected_now = False
        self.views = Views(user)
        self._ledger = ledger
        self._starting: asyncio.Task[None] | None = None

    def begin(self, url: str, auth: dict[str, Any], transports: list[str]) -> None:
        """Start Node, connect, and go on trying."""
        # A short patience, since a gateway that stands still takes connections and says nothing.
        self._starting = asyncio.create_task(self.start(url, NAMESPACE, auth, transports, timeout=5000))

    def again(self) -> None:
        """Connect anew, where the library has given up."""
        self.back()

    @property
    def given_up(self) -> bool:
        """Whether it does not try any more."""
        return not self.connected_now and not self.active

    def renew(self, token: str) -> None:
        """Use another token from now on."""
        self.outdated = False
        self.say({"token": token})

    async def part(self) -> None:
        """Lose the connection, and come back."""
        if self.connected_now:
            self._do("cut")

    @override
    async def hear(self, event: str, args: list[Any]) -> None:
        heard(self._ledger, self, event, args)

    @override
    async def note(self, where: list[Any], what: Any) -> None:
        if where is self.connects:
            self.connected_now = True
            opened(self._ledger, self, self.said, self.said_at, recovered=self.recovered[-1])
        elif where is self.disconnects:
            self.connected_now = False
            self._ledger.write("closed", client=self.name, reason=what)
        elif where is self.errors:
            self.outdated = refused(self._ledger, self.name, what) in OUTDATED


AnySocket = RecordedPython | RecordedJs


def opened(ledger: Ledger, client: AnySocket, cursors: dict[str, int], asked: float, *, recovered: bool) -> None:
    """Note a connection, and when it was asked for."""
    ledger.write("opened", client=client.name, user=client.user, cursors=cursors, asked=asked, recovered=recovered)


def heard(ledger: Ledger, client: AnySocket, event: str, args: list[Any]) -> int:
    """Note an event, and show it; its sequence, if it has one."""
    first = args[0] if args and isinstance(args[0], dict) else {}
    if "event_id" in first:
        room, sequence = first["room"], first["sequence"]
        data = first["data"]
        # A notification goes with the message that it is of; one that is gone already does not say of which it was.
        about = [data["room"], data["event"], data.get("message", 0)] if "cause" in data else None
        if event == "notification" and first.get("erased"):
            about = ["", 0, 0]
        event_id = first["event_id"]
        ledger.write("event", client=client.name, room=room, sequence=sequence, event_id=event_id, about=about)
        client.views.hear(first)
        return sequence
    if event in {"reset", "kicked"}:
        ledger.write(event, client=client.name, **first)
        if event == "reset":
            client.views.drop(first["room"])
    return 0


def refused(ledger: Ledger, client: str, error: dict[str, Any]) -> str:
    """Note that a client was not let in; with which code, if there is one."""
    data = error.get("data") if "data" in error else error
    code = data.get("code", "") if isinstance(data, dict) else ""
    ledger.write("refused", client=client, code=code, message=str(error.get("message", "")))
    return code
