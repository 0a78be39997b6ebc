"""A login at a provider, step by step; `parley.auth.oidc` has the table of steps."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from datetime import timedelta
from hmac import compare_digest
from typing import Any, NamedTuple

from sqlalchemy import Row, delete, func, insert, literal, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from parley.auth.accounts.sessions.sessions import Device, Grant, Sessions
from parley.auth.database import Database
from parley.auth.login_tables import login_codes, oidc_logins, provider_logouts, provider_sessions
from parley.auth.metrics import LOGINS, outcome
from parley.auth.oidc.provider import LoginSecrets, OpenIdProvider, challenge_of
from parley.auth.oidc.provider_accounts import account_of
from parley.auth.oidc.redirects import Destination, destination, with_query
from parley.auth.tables import refresh_tokens
from parley.auth.tokens.secret_hash import secret_hash
from parley.auth.user_rows import lock_user
from parley.common.errors import Code, Reject
from parley.common.http.addresses import address_key
from parley.common.process.logs import get_logger

log = get_logger(__name__)

LOGIN_SECONDS = 600
"""Within which somebody has to come back from the provider."""
CODE_SECONDS = 60
SWEPT = 1_000
"""Rows that one login clears away at most."""
MAX_BEGUN = 300
"""Logins of one address that are under way: whoever begins one has a row written."""
METHOD = "oidc"
"""How the user of such a session proved who they are, as they are told."""
MAX_APP_STATE = 512
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")


class LoginStart(NamedTuple):
    """Where the browser goes, and the secret that its cookie has to hold then."""

    location: str
    browser: str


class OpenIdLogins:
    """Logins at the configured providers. Between steps all of it is in the database: any replica takes the next."""

    def __init__(
        self,
        database: Database,
        sessions: Sessions,
        providers: Mapping[str, OpenIdProvider],
        redirect_uris: list[str],
    ) -> None:
        self._database = database
        self._sessions = sessions
        self.providers = providers
        self._redirect_uris = redirect_uris
        self._trusted = [each.settings.issuer for each in providers.values() if each.settings.link_by_email]

    def provider(self, name: str) -> OpenIdProvider:
        """Return the provider of this name. Raises `Reject(not_found)`."""
        if (found := self.providers.get(name)) is None:
            raise Reject(Code.NOT_FOUND, "There is no such provider.")
        return found

    async def logout_url(self, session_id: str, public_url: str) -> str:
        """Return where a browser goes to log out at the provider as well; empty where there is no such place.

        Raises `Reject(unavailable)`.
        """
        async with self._database.autocommit() as connection:
            mine = select(provider_sessions).where(provider_sessions.c.session_id == session_id)
            session = (await connection.execute(mine)).first()
        provider = self.providers.get(session.provider) if session is not None else None
        return provider.logout_url(session.id_token, f"{public_url}/") if provider and session is not None else ""

    async def begin(
        self,
        provider: OpenIdProvider,
        public_url: str,
        return_to: str,
        *,
        challenge: str,
        app_state: str,
        browser: str,
        address: str,
    ) -> LoginStart:
        """Begin a login that ends at `return_to`; `browser` is what the browser's cookie holds already, if it does.

        Raises `Reject(invalid_payload)` for a place that is not allowed; what fails later is told there.
        """
        target = destination(return_to, public_url, self._redirect_uris)
        if target is None:
            raise Reject(Code.INVALID_PAYLOAD, "return_to is neither a path of this server nor a registered URI.")
        if (challenge or not target.own) and not _CHALLENGE.fullmatch(challenge):
            raise Reject(Code.INVALID_PAYLOAD, "An app needs a code_challenge (S256).")
        # Two logins that are begun in two tabs share the cookie, so that neither takes it from the other.
        browser = browser if _CHALLENGE.fullmatch(browser) else secrets.token_urlsafe(32)
        redirect_uri = f"{public_url}/auth/oidc/{provider.name}/callback"
        # Three secrets for three dangers: an answer from elsewhere, a token of another login, a code that is stolen on
        # its way.
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        attempt = LoginSecrets(state, nonce, verifier, redirect_uri)
        try:
            location = await provider.authorization_url(attempt)
            await self._remember(provider, attempt, target, challenge, app_state, browser, address_key(address))
        except Reject as rejection:
            return LoginStart(_error_redirect(target.url, rejection, app_state), browser)
        return LoginStart(location, browser)

    async def come_back(self, provider: OpenIdProvider, answer: Mapping[str, str], browser: str) -> str:
        """Where the browser goes now that it is back from the provider: with a code for a grant, or with an error.

        Raises `Reject` with `expired_token` for a login that this browser did not begin, or not lately.
        """
        # Taken before anything else is asked: an answer that is sent twice finds nothing.
        login = await self._take(provider, answer.get("state", ""), browser)
        try:
            with outcome(LOGINS):
                code = await self._accept(provider, login, answer)
        except Reject as rejection:
            log.info("a login failed", provider=provider.name, code=str(rejection.code), why=rejection.message)
            return _error_redirect(login.destination, rejection, login.app_state)
        return with_query(login.destination, {"code": code, "state": login.app_state})

    async def exchange(self, code: str, verifier: str, browser: str, device: Device) -> Grant:
        """Return a grant for a code, once, to the browser or the app that began the login.

        Raises `Reject` with `invalid_credentials`, `revoked_token` if the provider said meanwhile that the user logged
        out, or `banned`.
        """
        async with self._database.autocommit() as connection:
            # Taken by deleting it, so that of two who show the same code one finds nothing (RFC 6749, section 4.1.2).
            taken = delete(login_codes).where(
                login_codes.c.code == secret_hash(code), login_codes.c.expires_at > func.clock_timestamp()
            )
            found = (await connection.execute(taken.returning(login_codes))).first()
        if found is None or not _is_theirs(found, verifier, browser):
            raise Reject(Code.INVALID_CREDENTIALS, "The code is not good, or not any more; log in again.")
        async with self._database.transaction() as connection:
            user = await lock_user(connection, found.user_id)
            if user is None:
                raise Reject(Code.INVALID_CREDENTIALS, "The account was deleted.")
            # Under the lock of the user's row, which a logout takes as well: it ends the session, or it is found here.
            await _require_still_logged_in(connection, found)
            grant = await self._sessions.begin(connection, user, device, METHOD)
            # A grant does not name its session; the hash of its token does.
            begun = select(refresh_tokens.c.session_id).where(refresh_tokens.c.hash == secret_hash(grant.refresh_token))
            await connection.execute(
                insert(provider_sessions).values(
                    session_id=begun.scalar_subquery(),
                    user_id=user.id,
                    provider=found.provider,
                    issuer=found.issuer,
                    subject=found.subject,
                    provider_session=found.provider_session,
                    id_token=found.id_token,
                )
            )
            return grant

    async def _remember(
        self,
        provider: OpenIdProvider,
        attempt: LoginSecrets,
        target: Destination,
        challenge: str,
        app_state: str,
        browser: str,
        address: str,
    ) -> None:
        async with self._database.transaction() as connection:
            # Whoever begins one clears away what others left, so that nothing piles up.
            for table, key in ((oidc_logins, oidc_logins.c.state), (login_codes, login_codes.c.code)):
                left = select(key).where(table.c.expires_at < func.clock_timestamp()).limit(SWEPT)
                # Two who do so at once would wait for each other's rows.
                await connection.execute(delete(table).where(key.in_(left.with_for_update(skip_locked=True))))
            begun = select(func.count()).select_from(oidc_logins).where(oidc_logins.c.address == address)
            if (await connection.execute(begun)).scalar_one() >= MAX_BEGUN:
                raise Reject(Code.RATE_LIMITED, "Too many logins were begun and not ended; try again in some minutes.")
            await connection.execute(
                insert(oidc_logins).values(
                    address=address,
                    state=secret_hash(attempt.state),
                    browser=secret_hash(browser),
                    provider=provider.name,
                    nonce=attempt.nonce,
                    verifier=attempt.verifier,
                    redirect_uri=attempt.redirect_uri,
                    destination=target.url,
                    app_state=app_state,
                    challenge=challenge,
                    expires_at=func.clock_timestamp() + timedelta(seconds=LOGIN_SECONDS),
                )
            )

    async def _take(self, provider: OpenIdProvider, state: str, browser: str) -> Row[Any]:
        async with self._database.autocommit() as connection:
            taken = delete(oidc_logins).where(
                oidc_logins.c.state == secret_hash(state),
                # Bound to the browser that began: nobody can be made to finish a stranger's login (RFC 6749, section
                # 10.12).
                oidc_logins.c.browser == secret_hash(browser),
                oidc_logins.c.provider == provider.name,
                oidc_logins.c.expires_at > func.clock_timestamp(),
            )
            login = (await connection.execute(taken.returning(oidc_logins))).first()
        if login is None:
            raise Reject(Code.EXPIRED_TOKEN, "This login was not begun here, or too long ago; log in again.")
        return login

    async def _accept(self, provider: OpenIdProvider, login: Row[Any], answer: Mapping[str, str]) -> str:
        # First: an answer of another provider says nothing, not even that it failed (RFC 9207, section 2.4).
        await provider.check_answer(answer.get("iss", ""))
        if "error" in answer or not answer.get("code"):
            denied = answer.get("error") in {"access_denied", "login_required", "consent_required"}
            raise Reject(*_REFUSED if denied else (Code.UNAVAILABLE, f"{provider.settings.label} refuses; try again."))
        attempt = LoginSecrets("", login.nonce, login.verifier, login.redirect_uri)
        person, id_token = await provider.redeem(answer["code"], attempt)
        # The browser is given a code, and never the tokens: addresses are kept in histories and logs.
        code = secrets.token_urlsafe(32)
        async with self._database.transaction() as connection:
            user = await account_of(
                connection, person, trusted=self._trusted, registration=provider.settings.registration
            )
            await connection.execute(
                insert(login_codes).values(
                    code=secret_hash(code),
                    browser=login.browser,
                    challenge=login.challenge,
                    user_id=user.id,
                    provider=provider.name,
                    issuer=person.issuer,
                    subject=person.subject,
                    provider_session=person.provider_session,
                    id_token=id_token,
                    started_at=login.started_at,
                    expires_at=func.clock_timestamp() + timedelta(seconds=CODE_SECONDS),
                )
            )
        return code


_REFUSED = (Code.FORBIDDEN, "The login was refused or broken off.")


async def _require_still_logged_in(connection: AsyncConnection, found: Row[Any]) -> None:
    """Raise `Reject(revoked_token)` if the provider has ended meanwhile what this code came from."""
    ended = select(provider_logouts.c.id).where(
        provider_logouts.c.issuer == found.issuer,
        or_(
            (provider_logouts.c.provider_session != "")
            & (provider_logouts.c.provider_session == found.provider_session),
            # Of all sessions of the user, or of one that cannot be told from this one.
            or_(provider_logouts.c.provider_session == "", literal(found.provider_session == ""))
            & (provider_logouts.c.subject == found.subject)
            & (provider_logouts.c.at >= found.started_at),
        ),
    )
    if (await connection.execute(ended.limit(1))).first() is not None:
        raise Reject(Code.REVOKED_TOKEN, "The identity provider has ended this login; log in again.")


def _is_theirs(found: Row[Any], verifier: str, browser: str) -> bool:
    """Return whether a code came back to who began the login: an app proves it by PKCE, our own page by its cookie."""
    # RFC 7636, section 4.6: whoever stole the code on its way does not know the verifier.
    if found.challenge:
        return compare_digest(challenge_of(verifier), found.challenge)
    return compare_digest(secret_hash(browser), found.browser)


def _error_redirect(url: str, rejection: Reject, app_state: str) -> str:
    error = {"error": str(rejection.code), "error_description": rejection.message, "state": app_state}
    return with_query(url, error)
