"""The e-mail address of an account: given by who knows its password, and used once it was shown to be theirs."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Row, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from parley.auth.accounts.accounts import Accounts
from parley.auth.accounts.guessing.attempt_counts import AttemptLimit
from parley.auth.accounts.own_account import Proof, lock_proved
from parley.auth.database import Database
from parley.auth.email_address import mailbox_key, require_address
from parley.auth.login_tables import emails
from parley.auth.mail import letters, mail_tokens
from parley.auth.mail.letters import VERIFY_HOURS
from parley.auth.mail.mail_tokens import Purpose
from parley.auth.mail.mailer import Mailer
from parley.auth.settings import AttemptRate
from parley.auth.tables import users
from parley.auth.user_rows import lock_user
from parley.common.errors import Code, Reject
from parley.common.process.logs import get_logger
from parley.common.wire.identity import Identity

log = get_logger(__name__)

PER_ADDRESS = AttemptRate(5, 3600)
"""Mails to one address that others have sent there: who gets them may have asked for none."""
LIFETIME = timedelta(hours=VERIFY_HOURS)


class VerifiedAddress(NamedTuple):
    """An address that is a user's own, and since when that is known."""

    address: str
    verified_at: datetime


class OwnAddress:
    """Sets, verifies and removes users' addresses, and writes to them."""

    def __init__(self, database: Database, accounts: Accounts, mailer: Mailer) -> None:
        self._database = database
        self._accounts = accounts
        self._mailer = mailer
        self._recipients = AttemptLimit(PER_ADDRESS)

    async def of_user(self, user_id: str) -> VerifiedAddress | None:
        """Return the verified address of a user; None without one. What waits to be verified is in its mail alone."""
        async with self._database.autocommit() as connection:
            return await _address_of(connection, user_id)

    async def give(self, identity: Identity, proof: Proof, address: str, public_url: str) -> None:
        """Send a token to an address. Whether somebody else has it is told to its owner, and nobody else.

        Raises `Reject` as `Accounts.prove` does, with `invalid_payload` for what is no address, `forbidden` where no
        mail is sent, and `rate_limited`.
        """
        require_address(address)
        self._require_mail()
        proved = await self._accounts.prove(identity.user_id, proof.password, proof.device, proof.proven)
        # By the mailbox, whoever asks: many accounts together must not fill somebody's inbox.
        self._recipients.take(mailbox_key(address), time.monotonic())
        async with self._database.transaction() as connection:
            user = await lock_proved(connection, proved)
            token = await mail_tokens.make(connection, user, Purpose.VERIFY, address, LIFETIME)
            owner = await _owner_of(connection, address)
        if token is None:
            raise Reject(Code.RATE_LIMITED, "Too many mails within an hour; try again later.")
        letter = letters.verification(user.username, token, public_url)
        # The asker is answered alike. Whose address it is learns that somebody has tried.
        if owner is not None and owner.id != user.id:
            letter = letters.already_used(owner.username)
        self._mailer.send(address, letter)

    async def confirm(self, identity: Identity, token: str) -> str:
        """Take the address that a token was sent to as this user's own; returns it.

        Raises `Reject` with `invalid_credentials` for a token that is not good, or not this user's: whoever reads a
        mail that somebody else had sent confirms nothing for them. `already_exists` if another account has it.
        """
        try:
            async with self._database.transaction() as connection:
                user = await lock_user(connection, identity.user_id)
                address = await mail_tokens.take(connection, token, Purpose.VERIFY, user) if user is not None else None
                if user is None or address is None:
                    raise Reject(
                        Code.INVALID_CREDENTIALS, "The code is not good, or not any more; ask for another one."
                    )
                before = await _address_of(connection, user.id)
                verified = {"address": address, "address_key": mailbox_key(address)}
                verified |= {"verified_at": func.clock_timestamp()}
                new = insert(emails).values(user_id=user.id, **verified)
                await connection.execute(new.on_conflict_do_update(index_elements=["user_id"], set_=verified))
        except IntegrityError as error:
            raise Reject(Code.ALREADY_EXISTS, "Another account has this address.") from error
        if before is not None and mailbox_key(before.address) != mailbox_key(address):
            message = "Your account has another e-mail address now, and this one is not used any more."
            # To the address of before: whoever took the account over reads only the new one.
            self._mailer.send(before.address, letters.notice(user.username, message))
        return address

    async def remove(self, identity: Identity, proof: Proof) -> None:
        """Have an account without an address. Raises `Reject` as `Accounts.prove` does, or `not_found`."""
        proved = await self._accounts.prove(identity.user_id, proof.password, proof.device, proof.proven)
        async with self._database.transaction() as connection:
            await lock_proved(connection, proved)
            gone = delete(emails).where(emails.c.user_id == proved.id).returning(emails.c.address)
            address = await connection.scalar(gone)
        if address is None:
            raise Reject(Code.NOT_FOUND, "Your account has no e-mail address.")
        message = "This e-mail address was taken from your account."
        self._mailer.send(address, letters.notice(proved.username, message))

    async def tell(self, user_id: str, what: str) -> None:
        """Write to the owner of an account that something was changed, if there is an address to write to.

        It was changed already, so nothing is raised.
        """
        wanted = select(users.c.username, emails.c.address).join(emails).where(users.c.id == user_id)
        try:
            async with self._database.autocommit() as connection:
                row = (await connection.execute(wanted)).first()
        except Reject as rejection:
            log.warning("nobody is told of a change of their account", user=user_id, code=str(rejection.code))
            return
        if row is not None and row.username is not None and self._mailer.on:
            self._mailer.send(row.address, letters.notice(row.username, what))

    def _require_mail(self) -> None:
        if not self._mailer.on:
            raise Reject(Code.FORBIDDEN, "This server sends no mail, so it has no use for an address.")


async def _address_of(connection: AsyncConnection, user_id: str) -> VerifiedAddress | None:
    row = (await connection.execute(select(emails).where(emails.c.user_id == user_id))).first()
    return VerifiedAddress(row.address, row.verified_at) if row is not None else None


async def _owner_of(connection: AsyncConnection, address: str) -> Row[Any] | None:
    owner = select(users).join(emails).where(emails.c.address_key == mailbox_key(address))
    return (await connection.execute(owner)).first()
