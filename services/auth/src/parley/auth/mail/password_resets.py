"""Passwords that were forgotten: a token by mail to the verified address gives another one, once.

Who asks is answered before it is looked up whether there is such an account, so neither the answer nor its time tells.
A second factor stays: whoever reads somebody's mail has not got in by that.
"""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import Any, NamedTuple

from sqlalchemy import Row, select, update

from parley.auth.accounts.accounts import require_strong
from parley.auth.accounts.guessing.attempt_counts import AttemptLimit
from parley.auth.accounts.guessing.passwords import Passwords
from parley.auth.database import Database
from parley.auth.email_address import mailbox_key
from parley.auth.login_tables import emails
from parley.auth.mail import letters, mail_tokens
from parley.auth.mail.letters import RESET_MINUTES
from parley.auth.mail.mail_tokens import Purpose
from parley.auth.mail.mailer import Mailer
from parley.auth.moderation import kick_records
from parley.auth.moderation.audit import Actor
from parley.auth.moderation.kicks import KickOrder
from parley.auth.settings import AttemptRate
from parley.auth.tables import users
from parley.auth.user_rows import lock_user, named, revoke_all
from parley.common.errors import Code, Reject
from parley.common.http.addresses import address_key
from parley.common.process.logs import get_logger
from parley.common.wire.identity import Identity

log = get_logger(__name__)

ASKED_PER_ADDRESS = AttemptRate(30, 3600)
"""Requests from one address; offices have one for all."""
CONFIRMED_PER_ADDRESS = AttemptRate(30, 600)
MAX_WAITING = 500
"""Requests that were answered and not looked at yet; further ones are `overloaded`, whomever they are about."""
TRIES, PAUSE = 5, 2.0
"""How often a request is looked at while the database is away, and the seconds between."""
LIFETIME = timedelta(minutes=RESET_MINUTES)


class _Asked(NamedTuple):
    identifier: str
    public_url: str


class PasswordResets:
    """Takes requests for another password, and tokens."""

    def __init__(self, database: Database, passwords: Passwords, mailer: Mailer) -> None:
        self._database = database
        self._passwords = passwords
        self._mailer = mailer
        self._asked: asyncio.Queue[_Asked] = asyncio.Queue(MAX_WAITING)
        self._askers = AttemptLimit(ASKED_PER_ADDRESS)
        self._confirmers = AttemptLimit(CONFIRMED_PER_ADDRESS)

    def ask(self, identifier: str, address: str, public_url: str) -> None:
        """Have a mail sent to who has this username or verified e-mail address, if anybody has.

        `address` is where the request comes from. Raises `Reject` with `forbidden` (no mail is sent here),
        `rate_limited` or `overloaded`, all alike for accounts that are and that are not.
        """
        if not self._mailer.on:
            raise Reject(Code.FORBIDDEN, "This server sends no mail; ask an administrator for another password.")
        self._askers.take(address_key(address), time.monotonic())
        try:
            self._asked.put_nowait(_Asked(identifier, public_url))
        except asyncio.QueueFull as error:
            raise Reject(Code.OVERLOADED) from error

    async def run(self) -> None:
        """Look at what was asked, for ever, one after the other."""
        while True:
            asked = await self._asked.get()
            for left in reversed(range(TRIES)):
                try:
                    await self._answer(asked)
                    break
                except Reject as rejection:
                    if not left:
                        log.warning("a forgotten password got no mail", code=str(rejection.code))
                    await asyncio.sleep(PAUSE)
                except Exception:
                    log.exception("a forgotten password got no mail")
                    break

    async def confirm(self, token: str, password: str, address: str, correlation: str) -> KickOrder:
        """Give the account of a token another password, and refuse everything that the old one gave.

        Returns the order to end its connections. Raises `Reject` with `invalid_credentials` for a token that is not
        good, `invalid_payload` for a weak password, or the one there is where an administrator wants another,
        `rate_limited` or `overloaded`.
        """
        # Before the database is asked: tokens cannot be guessed, but whoever tries must not cost anything.
        self._confirmers.take(address_key(address), time.monotonic())
        async with self._database.autocommit() as connection:
            found = await mail_tokens.find(connection, token, Purpose.RESET)
            known = select(users).where(users.c.id == found.user_id) if found is not None else None
            user = (await connection.execute(known)).first() if known is not None else None
        if user is None:
            raise _no_good()
        require_strong(password, user.username)
        if user.password_change_required and (await self._passwords.verify(user.password_hash, password)).fits:
            raise Reject(Code.INVALID_PAYLOAD, "Choose another password than the one there is.")
        password_hash = await self._passwords.hash(password)
        async with self._database.transaction() as connection:
            user = await lock_user(connection, user.id)
            sent_to = await mail_tokens.take(connection, token, Purpose.RESET, user) if user is not None else None
            if user is None or sent_to is None:
                raise _no_good()
            # One who has lost the address since has lost this with it.
            same = select(emails.c.address).where(emails.c.user_id == user.id)
            if await connection.scalar(same) != sent_to:
                raise _no_good()
            changed = update(users).where(users.c.id == user.id)
            await connection.execute(changed.values(password_hash=password_hash, password_change_required=False))
            await revoke_all(connection, user.id)
            actor = Actor(Identity(user.id, user.name), correlation)
            await actor.record(connection, "user.password_reset", user.id, {"by": "mail"})
            message = "Your password was reset; log in again."
            order = await kick_records.write_order(connection, user.id, Code.REVOKED_TOKEN, message, users=[user.id])
        message = "Its password was reset by a link that was mailed to you, and it was logged out everywhere."
        self._mailer.send(sent_to, letters.notice(user.username, message))
        return order

    async def _answer(self, asked: _Asked) -> None:
        found = await self._account_of(asked.identifier)
        if found is None:
            return
        async with self._database.transaction() as connection:
            user = await lock_user(connection, found.user_id)
            # Who logs in at a provider alone has no password to forget.
            if user is None or user.password_hash is None:
                return
            token = await mail_tokens.make(connection, user, Purpose.RESET, found.address, LIFETIME)
        if token is None:
            log.info("no further mail for a forgotten password", user=user.id)
            return
        # To the address that was verified, whatever was typed just now.
        self._mailer.send(found.address, letters.reset(user.username, token, asked.public_url))

    async def _account_of(self, identifier: str) -> Row[Any] | None:
        with_address = select(emails).join(users)
        if "@" in identifier:
            wanted = with_address.where(emails.c.address_key == mailbox_key(identifier))
        else:
            wanted = with_address.where(named(identifier))
        async with self._database.autocommit() as connection:
            return (await connection.execute(wanted)).first()


def _no_good() -> Reject:
    return Reject(Code.INVALID_CREDENTIALS, "The link is not good, or not any more; ask for another one.")
