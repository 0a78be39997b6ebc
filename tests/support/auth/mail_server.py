"""An SMTP server, which keeps what it is given, and refuses what it is told to."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from tests.support.waiting import until

USER, SECRET = "parley", "of the mail server"


@dataclass
class MailServer:
    """A running server."""

    port: int = 0
    taken: list[EmailMessage] = field(default_factory=list[EmailMessage])
    recipients: list[str] = field(default_factory=list[str])
    senders: list[str | None] = field(default_factory=list[str | None])
    answers: list[str] = field(default_factory=list[str])
    """What the next mails are answered with, instead of being taken."""
    asked: int = 0

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        self.asked += 1
        if self.answers:
            return self.answers.pop(0)
        content = envelope.content
        assert isinstance(content, bytes)
        self.taken.append(message_from_bytes(content, policy=policy.default))  # pyright: ignore[reportArgumentType]
        self.recipients += envelope.rcpt_tos
        self.senders.append(envelope.mail_from)
        return "250 taken"

    async def mail_to(self, address: str, number: int = 1) -> EmailMessage:
        """The newest mail to an address, once there are as many to it."""

        def found() -> list[EmailMessage]:
            return [mail for mail in self.taken if mail["To"] == address]

        await until(lambda: len(found()) >= number, f"mail {number} to {address}")
        return found()[-1]

    async def token_to(self, address: str, number: int = 1) -> str:
        """The token that a mail to an address says."""
        return token_in(await self.mail_to(address, number))


def token_in(mail: EmailMessage) -> str:
    found = re.search(r"with this code:\s+([A-Za-z0-9_-]+)\s", mail.get_content())
    assert found, mail.get_content()
    return found[1]


@asynccontextmanager
async def mail_server(tls: ssl.SSLContext | None = None, **options: Any) -> AsyncGenerator[MailServer]:
    """A server on a port of its own; with `tls`, it offers STARTTLS."""
    kept = MailServer()

    def authenticate(_server: Any, _session: Any, _envelope: Any, _mechanism: str, given: Any) -> AuthResult:
        assert isinstance(given, LoginPassword)
        return AuthResult(success=(given.login, given.password) == (USER.encode(), SECRET.encode()))

    def connection() -> SMTP:
        return SMTP(kept, tls_context=tls, authenticator=authenticate, loop=asyncio.get_running_loop(), **options)

    server = await asyncio.get_running_loop().create_server(connection, "127.0.0.1", 0)
    kept.port = server.sockets[0].getsockname()[1]
    yield kept
    server.close()
    await server.wait_closed()


def settings_of(server: MailServer) -> dict[str, Any]:
    """How auth is told of a server that asks for nothing."""
    return {
        "auth_smtp_host": "127.0.0.1",
        "auth_smtp_port": server.port,
        "auth_smtp_tls": "none",
        "auth_mail_from": "parley@example.com",
    }
