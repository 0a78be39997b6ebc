"""From a token to an identity, and whether that identity is still welcome."""

from __future__ import annotations

import secrets
import time

from sqlalchemy import func
from sqlalchemy.dialects.postgresql import insert

from parley.auth.database import Database
from parley.auth.metrics import AUTHENTICATIONS, AUTHORIZATIONS, outcome
from parley.auth.standing import Standings
from parley.auth.tables import users
from parley.auth.verification import GUEST_PREFIX, LOCAL_PREFIX, Claims, Verifier
from parley.common.envelope import Authenticate, Authorize, Identity
from parley.common.errors import Code, Reject

GUEST_ROLE = "guest"


class Identities:
    """Answers who the bearer of a token is."""

    def __init__(self, database: Database, verifier: Verifier, standings: Standings) -> None:
        self._database = database
        self._verifier = verifier
        self._standings = standings

    async def authenticate(self, request: Authenticate) -> Identity:
        """The identity a token proves, or a new guest for an empty token with `guest`.

        Raises `Reject` with `missing_token`, `invalid_token`, `expired_token`, `revoked_token`, `banned`, or a
        retryable code when the answer cannot be had now.
        """
        with outcome(AUTHENTICATIONS):
            if request.token:
                return await self._identify(await self._verifier.verify(request.token))
            if not request.guest:
                raise Reject(Code.MISSING_TOKEN)
            number = secrets.token_hex(10)
            return Identity(f"{GUEST_PREFIX}{number}", f"Guest-{number[:4]}", (GUEST_ROLE,), time.time())

    async def authorize(self, request: Authorize) -> None:
        """Return if an identity is still welcome. Raises `Reject` as `authenticate` does."""
        with outcome(AUTHORIZATIONS):
            if request.user_id.startswith(GUEST_PREFIX):
                return
            standing = await self._standings.of(request.user_id)
            if standing is not None:
                standing.require_welcome(request.issued_at)
            elif request.user_id.startswith(LOCAL_PREFIX):
                raise Reject(Code.INVALID_TOKEN)

    async def _identify(self, claims: Claims) -> Identity:
        standing = await self._standings.of(claims.user_id)
        if standing is not None:
            standing.require_welcome(claims.issued_at)
        if claims.external:
            # A write only when something is new: reconnecting clients cost one read.
            if standing is None or (standing.name, standing.roles) != (claims.name, claims.roles):
                await self._remember(claims)
            return Identity(claims.user_id, claims.name, claims.roles, claims.issued_at)
        if standing is None:
            raise Reject(Code.INVALID_TOKEN, "The user of this token does not exist any more.")
        # The name and roles of now, not those of when the token was issued: a demoted administrator is none at once.
        return Identity(claims.user_id, standing.name, standing.roles, claims.issued_at)

    async def _remember(self, claims: Claims) -> None:
        """Keep an adopter's user, so that administrators can find and ban them."""
        seen = {"name": claims.name, "roles": list(claims.roles)}
        first = insert(users).values(id=claims.user_id, kind="external", created_at=func.clock_timestamp(), **seen)
        async with self._database.autocommit() as connection:
            await connection.execute(first.on_conflict_do_update(index_elements=[users.c.id], set_=seen))
