"""The load on an XMPP server with group chats: a connection for each member, who joins one room.

A message is over when its sender gets it back from the room, which archived it first.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from typing import cast

from own_load import Load, Sender, main

DOMAIN = "localhost"
PASSWORD = "a password of the load"
AT_ONCE = 20
_STREAM = (
    f"<stream:stream to='{DOMAIN}' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>"
)
_BIND = "<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>"
_BODY, _BODY_END = b"<body>@T", b"</body>"


def user_name(client: int) -> str:
    """The account of a client."""
    return f"user{client}"


class Member(asyncio.Protocol):
    """One client's connection, in as much of XMPP as it needs: nothing is parsed but what is waited for."""

    def __init__(self, load: Load, client: int) -> None:
        self._load = load
        self._client = client
        self._room = f"room-{load.room_of(client)}@conference.{DOMAIN}"
        self._buffer = b""
        self._awaited = b""
        self._found: asyncio.Future[None] | None = None
        self._joined = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's are none by their class.
        self._transport = cast("asyncio.Transport", transport)

    async def join(self) -> None:
        """Log in and enter the room."""
        name = user_name(self._client)
        secret = base64.b64encode(f"\0{name}\0{PASSWORD}".encode()).decode()
        await self._say(_STREAM, "</stream:features>")
        await self._say(
            f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{secret}</auth>", "<success "
        )
        await self._say(_STREAM, "</stream:features>")
        await self._say(_BIND, "</iq>")
        muc = "<x xmlns='http://jabber.org/protocol/muc'><history maxstanzas='0'/></x>"
        # What tells a member's own presence, which is the last that comes.
        await self._say(f"<presence to='{self._room}/{name}'>{muc}</presence>", "<status code='110'/>")
        self._joined = True

    def send(self, number: int, text: str) -> None:
        self._write(f"<message to='{self._room}' type='groupchat' id='{number}'><body>{text}</body></message>")

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._joined:
            self._on_messages()
        elif self._found and not self._found.done() and self._awaited in self._buffer:
            self._buffer = b""
            self._found.set_result(None)

    def connection_lost(self, _error: Exception | None) -> None:
        self._load.dead += 1

    def _on_messages(self) -> None:
        buffer, at = self._buffer, 0
        while (begin := buffer.find(_BODY, at)) >= 0:
            end = buffer.find(_BODY_END, begin)
            if end < 0:
                break
            text = buffer[begin + len(b"<body>") : end]
            at = end
            self._load.on_delivery(self._client, text)
            number = int(text[text.index(b".") + 1 : text.index(b"@", 1)])
            if self._load.sender_of(number) == self._client:
                self._load.on_ack(number)
        if at == 0 and b"type='error'" in buffer:
            self._load.rejected += 1
        # A tag may come in two parts.
        self._buffer = buffer[begin:] if begin >= 0 else buffer[max(at, len(buffer) - len(_BODY)) :]

    async def _say(self, text: str, until: str) -> None:
        self._awaited = until.encode()
        self._found = asyncio.get_running_loop().create_future()
        self._write(text)
        await self._found

    def _write(self, text: str) -> None:
        assert self._transport is not None
        self._transport.write(text.encode())


async def connect(load: Load) -> Sequence[Sender]:
    loop = asyncio.get_running_loop()
    members: list[Member] = []
    for first in range(0, load.clients, AT_ONCE):
        numbers = range(first, min(first + AT_ONCE, load.clients))
        made = await asyncio.gather(
            *(
                loop.create_connection(lambda n=number: Member(load, n), "127.0.0.1", load.options.p)
                for number in numbers
            )
        )
        await asyncio.gather(*(member.join() for _, member in made))
        members += [member for _, member in made]
    return members


if __name__ == "__main__":
    main(connect)
