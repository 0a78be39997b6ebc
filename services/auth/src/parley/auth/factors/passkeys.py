"""Passkeys of users, as they are stored, registered and used."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple

from pydantic import BaseModel, Field
from sqlalchemy import ColumnElement, Row, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection
from webauthn.helpers import bytes_to_base64url

from parley.auth.factors import spent_tickets
from parley.auth.factors.passkey_ceremonies import (
    NewCredential,
    PresentedCredential,
    RelyingParty,
    VerifiedAssertion,
    challenge_in,
    decoded,
    known_transports,
)
from parley.auth.factors.tickets import TicketFor, TicketSeal, binding_of
from parley.auth.login_tables import passkeys
from parley.common.errors import Code, Reject
from parley.common.process.logs import get_logger
from parley.common.wire.identifiers import uuid7

log = get_logger(__name__)

MAX_PASSKEYS = 20


class PasskeyDetails(BaseModel):
    """A passkey, as its user sees it."""

    id: str
    name: str
    backed_up: bool = Field(description="whether it is kept elsewhere as well, such as in a password manager's cloud")
    created_at: datetime
    last_used_at: datetime | None = Field(description="null: never")


class UsedPasskey(NamedTuple):
    """Whose passkey was just used, and whether it has made sure of its user, by a PIN or a finger."""

    user_id: str
    user_verified: bool


class Passkeys:
    """Registers and recognises passkeys. Users' rows are locked by whoever calls, where something changes."""

    def __init__(self, party: RelyingParty, tickets: TicketSeal, now: Callable[[], float]) -> None:
        self.party = party
        self._tickets = tickets
        self._now = now

    async def registration_options(self, connection: AsyncConnection, user: Row[Any], login: str) -> dict[str, Any]:
        """Return what a browser is asked to make a passkey. Raises `Reject` with `forbidden` or `limit_exceeded`."""
        self.party.require()
        mine = select(passkeys.c.credential).where(passkeys.c.user_id == user.id)
        known = [bytes(each) for each in (await connection.scalars(mine)).all()]
        _require_room(len(known))
        # To the login that asks: a challenge that is read along is of no use in another one.
        binding = binding_of(login, user.password_hash)
        challenge = self._tickets.make_raw(TicketFor.PASSKEY_REGISTRATION, user.id, binding, self._now())
        return self.party.registration_options(user.id, user.username, user.name, challenge, known)

    async def register(
        self, connection: AsyncConnection, user: Row[Any], login: str, credential: NewCredential, name: str
    ) -> PasskeyDetails:
        """Keep a new passkey of a user whose row is locked.

        Raises `Reject` with `invalid_credentials` for what is not an answer to this user's own challenge, used once,
        `already_exists` and `limit_exceeded`.
        """
        self.party.require()
        raw = challenge_in(credential.response.client_data)
        # The challenge is ours if the seal opens, and names its purpose: one for a login registers nothing.
        ticket = self._tickets.open_raw(TicketFor.PASSKEY_REGISTRATION, raw, self._now())
        if ticket.user_id != user.id or ticket.binding != binding_of(login, user.password_hash):
            raise Reject(Code.INVALID_CREDENTIALS, "The passkey was made for somebody else.")
        registered = self.party.registered(credential, raw)
        number = select(func.count()).select_from(passkeys).where(passkeys.c.user_id == user.id)
        _require_room((await connection.scalar(number)) or 0)
        # A challenge works once, or whoever recorded an answer registers it again after its user has removed it.
        await spent_tickets.spend(connection, raw.hex(), ticket)
        new = insert(passkeys).values(
            id=f"pass_{uuid7().hex}",
            user_id=user.id,
            name=name,
            transports=known_transports(credential.response.transports),
            **registered._asdict(),
        )
        try:
            row = (await connection.execute(new.returning(passkeys))).mappings().one()
        except IntegrityError as error:
            raise Reject(Code.ALREADY_EXISTS, "This passkey is registered already.") from error
        return PasskeyDetails.model_validate(dict(row))

    async def factor_options(self, connection: AsyncConnection, user_id: str) -> dict[str, Any] | None:
        """Return what a browser is asked to show one of a user's passkeys; None if they have none."""
        mine = select(passkeys.c.credential, passkeys.c.transports).where(passkeys.c.user_id == user_id)
        allowed = [(bytes(row.credential), row.transports) for row in (await connection.execute(mine)).all()]
        if not allowed or not self.party.id:
            return None
        challenge = self._tickets.make_raw(TicketFor.PASSKEY_FACTOR, user_id, binding_of(self.party.id), self._now())
        return self.party.authentication_options(challenge, allowed)

    def login_options(self) -> dict[str, Any]:
        """Return what a browser is asked to log in whoever has a passkey on hand. Raises `Reject(forbidden)`."""
        self.party.require()
        challenge = self._tickets.make_raw(TicketFor.PASSKEY_LOGIN, "", binding_of(self.party.id), self._now())
        return self.party.authentication_options(challenge)

    async def owner_of(self, connection: AsyncConnection, credential: PresentedCredential) -> str | None:
        """Return whose passkey somebody says it is; None if it is nobody's. Nothing is proven by that."""
        known = passkeys.c.credential == decoded(credential.raw_id)
        return await connection.scalar(select(passkeys.c.user_id).where(known))

    async def use(
        self, connection: AsyncConnection, user_id: str, credential: PresentedCredential, *, alone: bool
    ) -> UsedPasskey:
        """Take a signature of a user whose row is locked; `alone` where it is all that they show.

        Raises `Reject(invalid_credentials)` for what is not an answer to a challenge of ours, used once, by a passkey
        of this user that counts on; alone, it must have verified its user.
        """
        raw = challenge_in(credential.response.client_data)
        purpose = TicketFor.PASSKEY_LOGIN if alone else TicketFor.PASSKEY_FACTOR
        ticket = self._tickets.open_raw(purpose, raw, self._now())
        if ticket.user_id != ("" if alone else user_id) or ticket.binding != binding_of(self.party.id):
            raise _unknown()
        mine = (passkeys.c.user_id == user_id) & (passkeys.c.credential == decoded(credential.raw_id))
        # Locked, so that of two copies that count to the same number at once one is found out.
        row = (await connection.execute(select(passkeys).where(mine).with_for_update())).first()
        if row is None or (alone and not _is_handle(credential, user_id)):
            raise _unknown()
        presented = self.party.presented(credential, raw, bytes(row.public_key), user_verification=alone)
        self._require_counted_on(row, presented)
        await spent_tickets.spend(connection, raw.hex(), ticket)
        await connection.execute(
            update(passkeys)
            .where(passkeys.c.id == row.id)
            .values(sign_count=presented.sign_count, backed_up=presented.backed_up, last_used_at=func.clock_timestamp())
        )
        return UsedPasskey(user_id, presented.user_verified)

    @staticmethod
    def _require_counted_on(row: Row[Any], presented: VerifiedAssertion) -> None:
        # Zero for ever is said by passkeys that are synchronized, and cannot count.
        if (presented.sign_count or row.sign_count) and presented.sign_count <= row.sign_count:
            log.warning(
                "a passkey did not count on: there may be a copy of it", user=row.user_id, passkey=row.id,
                known=row.sign_count, shown=presented.sign_count,
            )  # fmt: skip
            raise Reject(Code.INVALID_CREDENTIALS, "There may be a copy of this passkey, so it was not accepted.")


async def listed(connection: AsyncConnection, user_id: str) -> list[PasskeyDetails]:
    """Return a user's passkeys, newest first."""
    mine = select(passkeys).where(passkeys.c.user_id == user_id).order_by(passkeys.c.created_at.desc(), passkeys.c.id)
    return [PasskeyDetails.model_validate(dict(row)) for row in (await connection.execute(mine)).mappings()]


async def rename(connection: AsyncConnection, user_id: str, passkey_id: str, name: str) -> PasskeyDetails:
    """Give a passkey another name. Raises `Reject(not_found)`."""
    mine = (passkeys.c.user_id == user_id) & (passkeys.c.id == passkey_id)
    changed = update(passkeys).where(mine).values(name=name).returning(passkeys)
    row = (await connection.execute(changed)).mappings().first()
    if row is None:
        raise Reject(Code.NOT_FOUND, "You have no such passkey.")
    return PasskeyDetails.model_validate(dict(row))


async def remove(connection: AsyncConnection, which: ColumnElement[bool]) -> int:
    """Forget passkeys that a condition names; returns how many there were."""
    return (await connection.execute(delete(passkeys).where(which))).rowcount


def _require_room(number: int) -> None:
    if number >= MAX_PASSKEYS:
        raise Reject(Code.LIMIT_EXCEEDED, f"A user has at most {MAX_PASSKEYS} passkeys.")


def _is_handle(credential: PresentedCredential, user_id: str) -> bool:
    # WebAuthn, 7.2 step 6: where nobody was named before, the authenticator has to say whose it is.
    return credential.response.user_handle == bytes_to_base64url(user_id.encode())


def _unknown() -> Reject:
    return Reject(Code.INVALID_CREDENTIALS, "The passkey was not accepted.")
