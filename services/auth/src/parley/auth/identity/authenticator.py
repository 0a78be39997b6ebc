"""From a token to an identity, and whether that identity is still welcome."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Any

import msgspec
from sqlalchemy import text

from parley.auth.database import Database
from parley.auth.identity.key_verifier import KeyVerifier
from parley.auth.metrics import AUTHENTICATIONS, outcome
from parley.auth.standing import HeldStanding, Standing, UserAndLogin, check, gone
from parley.auth.tokens import api_key
from parley.auth.tokens.claims import GUEST_PREFIX, LOCAL_PREFIX
from parley.auth.tokens.verifier import Verifier
from parley.common.batch_loader import BatchLoader
from parley.common.errors import Code, Reject
from parley.common.wire.identity import (
    MAX_CHANGED,
    MAX_CHECKED,
    Authenticate,
    ChangedUser,
    CheckWelcome,
    HeldUser,
    Identity,
    Unwelcome,
    UnwelcomeUsers,
)

GUEST_ROLE = "guest"
MAX_AT_ONCE = 1_000
"""Users one statement is about."""

# In the order of their ids, so that replicas which write the same users wait for each other in one order.
_REMEMBER = text(
    """
    INSERT INTO auth.users (id, kind, name, roles)
    SELECT id, 'external', name, ARRAY(SELECT jsonb_array_elements_text(roles))
    FROM jsonb_to_recordset(CAST(:seen AS jsonb)) AS seen (id text, name text, roles jsonb) ORDER BY id
    ON CONFLICT (id) DO UPDATE SET name = excluded.name, roles = excluded.roles
""".strip()
)


class Authenticator:
    """Answers who the bearer of a token is."""

    def __init__(
        self,
        database: Database,
        verifier: Verifier,
        now: Callable[[], float],
        require_allowed: Callable[[str], None],
    ) -> None:
        """`now` tells the database's time, in Unix seconds; `require_allowed` raises `Reject` for a banned address."""
        self._database = database
        self._verifier = verifier
        self._now = now
        self._require_allowed = require_allowed
        self._keys = KeyVerifier(database)
        self._standings = BatchLoader(self._look_up, MAX_AT_ONCE)

    async def close(self) -> None:
        """Stop asking the database; who still waits for it is told `unavailable`."""
        await self._standings.close()
        await self._keys.close()

    def waits(self) -> float:
        """Return seconds for which the oldest question for a user's standing has been waiting for the database."""
        return self._standings.age()

    async def authenticate(self, request: Authenticate) -> Identity:
        """Return the identity a token proves, or a new guest for an empty token with `guest`.

        Raises `Reject` with `missing_token`, `invalid_token`, `expired_token`, `revoked_token`, `banned`, or a
        retryable code when the answer cannot be had now.
        """
        with outcome(AUTHENTICATIONS):
            # Before any token is looked at: a banned network must not even cost a signature.
            self._require_allowed(request.address)
            if request.token.startswith(api_key.PREFIX):
                verified = await self._keys.verify(request.token)
                return msgspec.structs.replace(await self._welcome(verified.identity), valid_for=verified.valid_for)
            if request.token:
                claims = await self._verifier.verify(request.token)
                proved = Identity(
                    claims.user_id,
                    claims.name,
                    claims.roles,
                    claims.issued_at,
                    float(claims.expires_at),
                    claims.login,
                    scopes=claims.scopes,
                )
                welcome = await self._welcome(proved)
                return msgspec.structs.replace(welcome, valid_for=max(0.0, claims.expires_at - self._now()))
            if not request.guest:
                raise Reject(Code.MISSING_TOKEN)
            # Eighty random bits: no guest becomes another one who was here before.
            number = secrets.token_hex(10)
            return Identity(f"{GUEST_PREFIX}{number}", f"Guest-{number[:4]}", (GUEST_ROLE,), time.time(), kicks=0)

    async def check_welcome(self, request: CheckWelcome) -> UnwelcomeUsers:
        """Return who of those whom a gateway holds must go: banned, revoked, deleted, or kicked since they were let in.

        And who of the others is not any more what the gateway holds them for: suspended, or of other roles.
        An adopter's user of whom nothing is known is welcome, and so is a guest. Raises `Reject`.
        """
        if len(request.held) > MAX_CHECKED:
            raise Reject(Code.PAYLOAD_TOO_LARGE, f"At most {MAX_CHECKED} users are checked at a time.")
        asked = time.monotonic()
        async with self._database.autocommit() as connection:
            # They were as old as they say when the question came, and grow older while the database is waited for.
            waited = time.monotonic() - asked
            known = await check(connection, {(held.user_id, held.login) for held in request.held})
        users: list[Unwelcome] = []
        changed: list[ChangedUser] = []
        for position, held in enumerate(request.held):
            # By user and login: of two devices of one user one may have to go and the other may stay.
            found = known[held.user_id, held.login]
            refusal = found.refusal(held, waited, must_exist=held.user_id.startswith(LOCAL_PREFIX))
            if refusal is not None:
                users.append(Unwelcome(position, str(refusal.code), refusal.message))
            elif len(changed) < MAX_CHANGED and (change := _change(position, held, found.standing)) is not None:
                changed.append(change)
        return UnwelcomeUsers(users, changed)

    async def _welcome(self, proved: Identity) -> Identity:
        found = await self._standings.load(proved)
        if found is None:
            raise RuntimeError("a user who was asked about is not answered")
        standing = found.standing
        if standing is not None and (refusal := standing.refusal(proved.issued_at)) is not None:
            raise refusal
        # Of users of others nobody knows anything before their first token; our own exist, or are gone.
        if standing is None:
            if proved.user_id.startswith(LOCAL_PREFIX):
                raise gone()
            return msgspec.structs.replace(proved, kicks=found.kicks)
        now: dict[str, Any] = {"suspended": standing.suspended, "suspended_for": standing.suspended_for}
        now["kicks"] = found.kicks
        if proved.user_id.startswith(LOCAL_PREFIX):
            # The name and roles of now, not those of the token: a demoted administrator is none at once.
            now |= {"name": standing.name, "roles": standing.roles}
        return msgspec.structs.replace(proved, **now)

    async def _look_up(self, proved: list[Identity]) -> dict[Identity, HeldStanding]:
        async with self._database.autocommit() as connection:
            found = await check(connection, {_user_and_login(identity) for identity in proved})
            # One row cannot be written twice by a statement; the last that was seen of a user stands.
            seen = {
                identity.user_id: {"id": identity.user_id, "name": identity.name, "roles": identity.roles}
                for identity in proved
                if _is_news(identity, found[_user_and_login(identity)].standing)
            }
            if seen:
                await connection.execute(_REMEMBER, {"seen": msgspec.json.encode(list(seen.values())).decode()})
        return {identity: found[_user_and_login(identity)] for identity in proved}


def _user_and_login(identity: Identity) -> UserAndLogin:
    return identity.user_id, identity.login


def _change(position: int, held: HeldUser, standing: Standing | None) -> ChangedUser | None:
    """Return what of somebody is not as a gateway holds it; None if nothing.

    Name and roles are auth's for its own users.
    """
    if standing is None:
        return None
    suspended = standing.suspended, standing.suspended_for
    if not held.user_id.startswith(LOCAL_PREFIX):
        return ChangedUser(position, *suspended) if held.suspended != standing.suspended else None
    if (held.suspended, held.digest) == (standing.suspended, Identity("", standing.name, standing.roles).digest):
        return None
    return ChangedUser(position, *suspended, standing.name, standing.roles)


def _is_news(proved: Identity, standing: Standing | None) -> bool:
    """Return whether to keep what a token says of an adopter's user, so that administrators can find and ban them.

    A write only when something is new: reconnecting clients cost one read.
    """
    if not proved.name or proved.user_id.startswith(LOCAL_PREFIX):
        return False
    if standing is None:
        return True
    return standing.refusal(proved.issued_at) is None and (standing.name, standing.roles) != (proved.name, proved.roles)
