"""Mail over a real SMTP server: taken, refused, tried again, encrypted."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from pydantic import SecretStr

from parley.auth.mail import letters, mailer
from parley.auth.mail.mailer import Mailer
from parley.auth.mail.smtp_delivery import SmtpDelivery
from parley.auth.metrics import MAILS
from parley.auth.settings import AuthSettings
from tests.support.auth.mail_server import SECRET, USER, MailServer, mail_server, settings_of
from tests.support.waiting import until

LETTER = letters.notice("alice", "Your password was changed.")


@pytest.fixture
async def server() -> AsyncIterator[MailServer]:
    async with mail_server() as running:
        yield running


@asynccontextmanager
async def sending(settings: dict[str, Any]) -> AsyncGenerator[Mailer]:
    sender = Mailer(SmtpDelivery(AuthSettings(**settings)), "parley@example.com")
    task = asyncio.create_task(sender.run())
    yield sender
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def count(outcome: str) -> float:
    return MAILS.labels(outcome)._value.get()


async def test_a_mail_arrives_as_it_was_written(server: MailServer) -> None:
    async with sending(settings_of(server)) as sender:
        assert sender.send("alice@example.org", LETTER)
        mail = await server.mail_to("alice@example.org")
    assert (mail["From"], mail["Subject"]) == ("parley@example.com", "A change of your account")
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Message-ID"].endswith("@example.com>")
    assert "The account is 'alice'." in mail.get_content()
    assert (server.recipients, server.senders) == (["alice@example.org"], ["parley@example.com"])


async def test_what_may_pass_is_tried_again_and_what_is_meant_for_good_is_not(
    server: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mailer, "PAUSES", (0.01,))
    server.answers = ["451 later", "421 not now"]
    async with sending(settings_of(server)) as sender:
        sender.send("alice@example.org", LETTER)
        await server.mail_to("alice@example.org")
        assert server.asked == 3
        server.answers, refused = ["550 nobody of this name"], count("refused")
        sender.send("bob@example.org", LETTER)
        await until(lambda: count("refused") > refused, "the refusal")
        assert len(sender) == 0
    assert server.asked == 4


async def test_a_server_that_is_away_is_asked_again_until_the_mail_is_worth_nothing(
    server: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mailer, "PAUSES", (0.01,))
    nowhere = {**settings_of(server), "auth_smtp_port": 1}
    async with sending(nowhere) as sender:
        expired = count("expired")
        sender.send("alice@example.org", LETTER._replace(good_for=0.2))
        await until(lambda: count("expired") > expired, "it is given up")
        assert len(sender) == 0


async def test_one_more_than_may_wait_is_dropped_and_said_to_be(
    server: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mailer, "MAX_WAITING", 3)
    sender = Mailer(SmtpDelivery(AuthSettings(**settings_of(server))), "parley@example.com")
    dropped = count("dropped")
    assert [sender.send(f"{number}@example.org", LETTER) for number in range(4)] == [True] * 3 + [False]
    assert count("dropped") == dropped + 1
    task = asyncio.create_task(sender.run())
    await until(lambda: len(server.taken) == 3, "the three are sent")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[ssl.SSLContext, Path]:
    """A server's side of TLS for 127.0.0.1, and the certificate that makes a client believe it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (tmp_path / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (tmp_path / "cert.pem").write_bytes(made.public_bytes(Encoding.PEM))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    return context, tmp_path / "cert.pem"


async def test_a_login_is_told_to_a_server_of_good_name_alone_and_never_in_the_clear(
    certificate: tuple[ssl.SSLContext, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mailer, "PAUSES", (0.01,))
    context, pem = certificate
    login = {"auth_smtp_tls": "starttls", "auth_smtp_host": "localhost"}
    login |= {"auth_smtp_user": USER, "auth_smtp_password": SecretStr(SECRET)}
    async with mail_server(context, auth_required=True, require_starttls=True) as server:
        settings = {**settings_of(server), **login}
        expired = count("expired")
        async with sending(settings) as sender:
            sender.send("alice@example.org", LETTER._replace(good_for=0.3))
            await until(lambda: count("expired") > expired, "a certificate of nobody is not believed")
        assert server.taken == []
        monkeypatch.setenv("SSL_CERT_FILE", str(pem))
        async with sending(settings) as sender:
            sender.send("alice@example.org", LETTER)
            await server.mail_to("alice@example.org")
    async with mail_server(auth_require_tls=False) as plain:
        async with sending({**settings_of(plain), **login}) as sender:
            expired = count("expired")
            sender.send("alice@example.org", LETTER._replace(good_for=0.3))
            await until(lambda: count("expired") > expired, "a server without TLS is given nothing")
        assert plain.taken == []
