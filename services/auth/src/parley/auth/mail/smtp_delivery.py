"""Hands mail over to an SMTP server."""

from __future__ import annotations

from email.message import EmailMessage

import aiosmtplib

from parley.auth.mail.mailer import Undeliverable
from parley.auth.settings import AuthSettings

SECONDS = 20.0
"""For each step of a conversation with the server."""
PERMANENT = 500
"""From this reply code on the server means it for good (RFC 5321, 4.2.1)."""


class SmtpDelivery:
    """A conversation with the configured server for each mail: there are few, and servers end idle ones."""

    prints = False

    def __init__(self, settings: AuthSettings) -> None:
        self._settings = settings

    async def deliver(self, message: EmailMessage) -> None:
        """Hand a mail over. Raises `Undeliverable` where the server refuses it for good, else `OSError`."""
        settings = self._settings
        try:
            await aiosmtplib.send(
                message,
                hostname=settings.auth_smtp_host,
                port=settings.auth_smtp_port,
                username=settings.auth_smtp_user or None,
                password=settings.auth_smtp_password.get_secret_value() or None,
                use_tls=settings.auth_smtp_tls == "tls",
                start_tls=settings.auth_smtp_tls == "starttls",
                timeout=SECONDS,
            )
        except aiosmtplib.SMTPRecipientsRefused as error:
            # There is one recipient; should there be more, one that may take it later is worth another try.
            if all(refused.code >= PERMANENT for refused in error.recipients):
                raise Undeliverable(f"{error.recipients[0].code}") from error
            raise ConnectionError("the server takes no mail for the recipient now") from error
        except aiosmtplib.SMTPAuthenticationError as error:
            # Of our settings and not of the mail: it is tried again, while somebody mends them.
            raise ConnectionError(f"the server refuses our login: {error.code}") from error
        except aiosmtplib.SMTPResponseException as error:
            if error.code >= PERMANENT:
                raise Undeliverable(f"{error.code}") from error
            raise ConnectionError(f"the server answers {error.code}") from error
        except (aiosmtplib.SMTPException, ValueError) as error:
            raise ConnectionError(f"{type(error).__name__}: {error}") from error
