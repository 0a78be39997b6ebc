"""Prints mail to standard output, in development, where there is no server to hand it to."""

from __future__ import annotations

import sys
from email.message import EmailMessage


class PrintedMail:
    """Shows each mail whole, with what is secret in it: whoever develops has to be able to use it."""

    prints = True

    async def deliver(self, message: EmailMessage) -> None:
        """Print a mail."""
        lines = [f"To: {message['To']}", f"Subject: {message['Subject']}", "", *message.get_content().splitlines()]
        sys.stdout.write(
            "\n".join(["", "✉ A mail (PARLEY_AUTH_SMTP_HOST would have it sent):", *map(_indented, lines), ""])
        )
        sys.stdout.flush()


def _indented(line: str) -> str:
    return f"  │ {line}"
