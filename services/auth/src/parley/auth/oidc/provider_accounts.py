"""Whose account a login at a provider is: that of the same login before, of the same verified address, or a new one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from parley.auth.email_address import mailbox_key
from parley.auth.login_tables import emails, provider_accounts
from parley.auth.oidc.provider_tokens import Person
from parley.auth.tables import users
from parley.auth.user_rows import lock_user, new_user_id
from parley.common.errors import Code, Reject


async def account_of(
    connection: AsyncConnection, person: Person, *, trusted: Sequence[str], registration: bool
) -> Row[Any]:
    """Return the locked row of a person's account, with the name and roles that their provider says.

    `trusted` are the issuers whose verified addresses are believed; if the person's is one, they get the account of
    somebody who has the same address by one of them, or has verified it here. Raises `Reject(forbidden)` where no
    account may be made.
    """
    mine = (provider_accounts.c.issuer == person.issuer) & (provider_accounts.c.subject == person.subject)
    # First logins of one person, or of one address, are one after the other: they would make two accounts.
    await _lock(connection, f"{person.issuer} {person.subject}")
    known = (await connection.execute(select(provider_accounts).where(mine))).first()
    if known is None:
        # Only a provider that is believed may say whose address it is: anybody can run one that says everything.
        linked = await _by_email(connection, person, trusted) if person.issuer in trusted else None
        if linked is None and not registration:
            raise Reject(Code.FORBIDDEN, "You have no account here, and this provider makes none.")
        user_id = linked or await _new_account(connection, person)
        seen = {"name": person.name, "address": person.email, "roles": list(person.roles)}
        await connection.execute(
            insert(provider_accounts).values(issuer=person.issuer, subject=person.subject, user_id=user_id, **seen)
        )
        # Nothing that this identity granted before is to be taken from the account.
        return await _updated(connection, user_id, person, before=None)
    await connection.execute(
        update(provider_accounts)
        .where(mine)
        .values(name=person.name, address=person.email, roles=list(person.roles), last_login_at=func.clock_timestamp())
    )
    return await _updated(connection, known.user_id, person, before=known)


async def _by_email(connection: AsyncConnection, person: Person, trusted: Sequence[str]) -> str | None:
    """Return the one account that has a person's verified address.

    None without one, and where it is not clear whose it is.
    """
    if not person.email:
        return None
    await _lock(connection, person.email)
    same = select(provider_accounts.c.user_id).where(
        provider_accounts.c.address == person.email, provider_accounts.c.issuer.in_(trusted)
    )
    # An address that was given here counts once it was verified, and those alone are in this table.
    here = select(emails.c.user_id).where(emails.c.address_key == mailbox_key(person.email))
    # Two accounts with one address: nothing says which is meant, and the wrong one would be given away.
    found = set((await connection.scalars(same.union(here))).all())
    return found.pop() if len(found) == 1 else None


async def _new_account(connection: AsyncConnection, person: Person) -> str:
    user_id = new_user_id()
    await connection.execute(insert(users).values(id=user_id, name=person.name, kind="external"))
    return user_id


async def _updated(connection: AsyncConnection, user_id: str, person: Person, before: Row[Any] | None) -> Row[Any]:
    """Return the account's row, locked, after its provider's word was taken over: what was changed here stays."""
    user = await lock_user(connection, user_id)
    if user is None:
        raise Reject(Code.UNAVAILABLE, "The account was deleted just now; try again.")
    others = select(provider_accounts.c.roles).where(
        provider_accounts.c.user_id == user_id,
        (provider_accounts.c.issuer != person.issuer) | (provider_accounts.c.subject != person.subject),
    )
    # What another login of the same account grants is not this one's to take.
    kept = {role for roles in (await connection.scalars(others)).all() for role in roles}
    taken = set(before.roles) - kept if before is not None else set[str]()
    roles = list(dict.fromkeys([*(role for role in user.roles if role not in taken), *person.roles]))
    follows = before is not None and user.name == before.name
    name = person.name if follows else user.name
    if roles != list(user.roles) or name != user.name:
        await connection.execute(update(users).where(users.c.id == user_id).values(roles=roles, name=name))
        user = await lock_user(connection, user_id)
    if user is None:
        raise RuntimeError("a locked row has gone")
    return user


async def _lock(connection: AsyncConnection, what: str) -> None:
    await connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(what, 0))))
