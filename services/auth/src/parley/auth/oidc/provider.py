"""What is asked of one OpenID Connect provider: where its endpoints are, who came with a code, who has logged out.

What it said of itself and its keys are kept and fetched again beside the work, so that a provider that is away or hangs
holds up logins at it and nothing else.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import msgspec

from parley.auth.oidc.provider_tokens import (
    LogoutNotice,
    Person,
    check_id_token,
    check_same_person,
    logout_notice,
    person,
    refused,
)
from parley.auth.oidc.redirects import with_query
from parley.auth.outbound import OK, Outbound, Unanswered
from parley.auth.providers_file import OpenIdSettings, is_safe_url
from parley.auth.tokens.claims import found_at
from parley.auth.tokens.decoding import decode, unverified
from parley.auth.tokens.issuer_keys import ALGORITHMS, IssuerKeys
from parley.common.errors import Code, Reject
from parley.common.process.logs import get_logger

log = get_logger(__name__)

REFRESH_SECONDS = 600.0
RETRY_SECONDS = 5.0
"""Seconds after which a provider that gave no answer is asked again what it is."""
FRESH_SECONDS = 30.0
"""For how long after an answer nobody asks a provider whether it is there before they send people to it."""
MAX_TOKEN = 16_384
LEEWAY = 60


class Metadata(msgspec.Struct, frozen=True):
    """What a provider says of itself (OpenID Connect Discovery, 3)."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str = ""
    end_session_endpoint: str = ""
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)
    authorization_response_iss_parameter_supported: bool = False


class _Tokens(msgspec.Struct, frozen=True):
    id_token: str
    access_token: str = ""


class _Refusal(msgspec.Struct, frozen=True):
    error: str = ""


class LoginSecrets(msgspec.Struct, frozen=True):
    """The secrets of one login: what the provider must give back, and what proves to it that it was we who asked."""

    state: str
    nonce: str
    verifier: str
    redirect_uri: str


class OpenIdProvider:
    """One provider, as it is configured and describes itself. What it says is believed once it passed the checks."""

    def __init__(self, name: str, settings: OpenIdSettings, outbound: Outbound) -> None:
        self.name = name
        self.settings = settings
        self._outbound = outbound
        self._metadata: Metadata | None = None
        self._keys: IssuerKeys | None = None
        self._keys_url = ""
        self._tried = self._answered = float("-inf")
        self._lock = asyncio.Lock()

    async def run(self) -> None:
        """Keep what the provider says of itself and its keys fresh, for as long as the process lives."""
        while True:
            async with self._lock:
                discovered = await self._discover()
            if discovered and self._keys is not None:
                discovered = await self._keys.refresh()
            await asyncio.sleep(REFRESH_SECONDS if discovered else RETRY_SECONDS)

    async def authorization_url(self, attempt: LoginSecrets) -> str:
        """Return where the browser goes to log in.

        Raises `Reject(unavailable)`: nobody is sent to a provider that is away.
        """
        metadata, _ = await self._discovered(present=True)
        query = {
            # What is configured comes first, so that it cannot replace what the flow needs.
            **self.settings.parameters,
            "response_type": "code",
            "client_id": self.settings.client_id,
            "redirect_uri": attempt.redirect_uri,
            "scope": " ".join(self.settings.scopes),
            "state": attempt.state,
            # `state` ties the answer to this browser, `nonce` the ID token to this login, the challenge the code to us:
            # each is checked on its own, since one may be missing in what an attacker replays (RFC 9700, 2.1).
            "nonce": attempt.nonce,
            "code_challenge": challenge_of(attempt.verifier),
            "code_challenge_method": "S256",
        }
        return with_query(metadata.authorization_endpoint, query)

    async def check_answer(self, issuer: str) -> None:
        """Check the `iss` that came back with a code (RFC 9207): another provider may have made the browser come here.

        Raises `Reject` with `invalid_token` or `unavailable`.
        """
        metadata, _ = await self._discovered()
        if issuer != self.settings.issuer and (issuer or metadata.authorization_response_iss_parameter_supported):
            raise refused("it comes from another provider")

    async def redeem(self, code: str, attempt: LoginSecrets) -> tuple[Person, str]:
        """Return who came with a code, and the ID token that says so.

        Raises `Reject` with `invalid_token`, `unavailable`, or `forbidden` for who may not log in.
        """
        metadata, keys = await self._discovered()
        tokens = await self._exchange(metadata, code, attempt)
        # Its signature as well, though it came over TLS from the provider itself: one way of checking for all tokens.
        claims = await self._verified(tokens.id_token, keys)
        check_id_token(claims, self.settings, attempt.nonce, time.time())
        if metadata.userinfo_endpoint and tokens.access_token and self._lacks_something(claims):
            more = await self._user_info(metadata.userinfo_endpoint, tokens.access_token)
            check_same_person(claims, more)
            # The signed claims win: what comes besides fills in what they lack.
            claims = {**more, **claims}
        return person(claims, self.settings), tokens.id_token

    async def logout_notice(self, token: str) -> LogoutNotice:
        """Return what a logout token says. Raises `Reject` with `invalid_token` or `unavailable`."""
        _, keys = await self._discovered()
        claims = await self._verified(token, keys, require=("iss", "aud", "iat", "jti", "events"))
        return logout_notice(claims, self.settings, time.time())

    def logout_url(self, id_token: str, return_to: str) -> str:
        """Return where a browser goes to log out at the provider as well; empty if it has no such place."""
        if self._metadata is None or not self._metadata.end_session_endpoint:
            return ""
        query = {
            "id_token_hint": id_token,
            "client_id": self.settings.client_id,
            "post_logout_redirect_uri": return_to,
        }
        return with_query(self._metadata.end_session_endpoint, query)

    async def _discovered(self, *, present: bool = False) -> tuple[Metadata, IssuerKeys]:
        """Return what is known of the provider; with `present` only if it answered lately."""

        def is_old() -> bool:
            return self._metadata is None or (present and time.monotonic() - self._answered > FRESH_SECONDS)

        if is_old():
            async with self._lock:
                # Those who waited find the answer, or that there was none just now.
                if is_old() and time.monotonic() - self._tried >= RETRY_SECONDS:
                    await self._discover()
        if self._metadata is None or self._keys is None or (present and self._answered < self._tried):
            raise self._away()
        return self._metadata, self._keys

    async def _discover(self) -> bool:
        # Also of what fails: a provider that is away is asked once in a while, however many want to log in.
        self._tried = time.monotonic()
        url = f"{self.settings.issuer.rstrip('/')}/.well-known/openid-configuration"
        try:
            found = msgspec.json.decode(await self._outbound.get(url), type=Metadata)
        except (Unanswered, ValueError, RecursionError) as error:
            log.warning("cannot ask the identity provider", provider=self.name, error=str(error))
            return False
        endpoints = [found.authorization_endpoint, found.token_endpoint, found.jwks_uri]
        endpoints += [url for url in (found.userinfo_endpoint, found.end_session_endpoint) if url]
        if found.issuer != self.settings.issuer or not all(map(is_safe_url, endpoints)):
            # Discovery 4.3: it would speak in somebody else's name.
            log.error("the identity provider is not who it should be", provider=self.name, issuer=found.issuer)
            return False
        self._metadata, self._answered = found, time.monotonic()
        # The same object as long as the place is the same: its keys serve on while new ones are fetched.
        if self._keys is None or found.jwks_uri != self._keys_url:
            self._keys, self._keys_url = IssuerKeys(found.jwks_uri, self._outbound), found.jwks_uri
        return True

    async def _exchange(self, metadata: Metadata, code: str, attempt: LoginSecrets) -> _Tokens:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": attempt.redirect_uri,
            "code_verifier": attempt.verifier,
        }
        headers: dict[str, str] = {}
        secret = self.settings.client_secret
        if secret and "client_secret_basic" in metadata.token_endpoint_auth_methods_supported:
            # RFC 6749, 2.3.1: both are encoded as forms are before they are joined.
            pair = f"{quote(self.settings.client_id, safe='')}:{quote(secret, safe='')}"
            headers["authorization"] = f"Basic {b64encode(pair.encode()).decode()}"
        else:
            form |= {"client_id": self.settings.client_id, **({"client_secret": secret} if secret else {})}
        try:
            answer = await self._outbound.post(metadata.token_endpoint, form, headers)
            # Any other success is none: a token response is a 200 (RFC 6749, 5.1).
            if answer.status == OK:
                return msgspec.json.decode(answer.body, type=_Tokens)
            refusal = msgspec.json.decode(answer.body, type=_Refusal) if answer.status < 500 else None
        except (Unanswered, ValueError, RecursionError) as error:
            log.warning("the identity provider gave no tokens", provider=self.name, error=str(error))
            raise self._away() from error
        log.warning(
            "the identity provider refuses", provider=self.name, status=answer.status, error=refusal and refusal.error
        )
        # The one refusal that is about this login; any other one is about our configuration, or the provider.
        if refusal is not None and refusal.error == "invalid_grant":
            raise refused("its code is not good any more")
        raise self._away()

    async def _verified(
        self, token: str, keys: IssuerKeys, require: tuple[str, ...] = ("iss", "sub", "aud", "exp", "iat")
    ) -> dict[str, Any]:
        if len(token) > MAX_TOKEN:
            raise refused("a token is too long")
        said = unverified(token)
        key = await keys.get(said.kid) if isinstance(said.algorithm, str) and said.algorithm in ALGORITHMS else None
        if key is None:
            raise refused("no key of its own fits it")
        # By the algorithm that the key was published for, whichever the token names.
        return decode(token, key, key.algorithm_name, issuer=self.settings.issuer, leeway=LEEWAY, require=require)

    def _lacks_something(self, claims: Mapping[str, Any]) -> bool:
        wanted = (
            self.settings.name_claim,
            self.settings.email_claim,
            self.settings.roles_claim,
            *self.settings.require,
        )
        return any(claim and found_at(claims, claim) is None for claim in wanted)

    async def _user_info(self, url: str, access_token: str) -> dict[str, Any]:
        try:
            return msgspec.json.decode(await self._outbound.get(url, access_token), type=dict[str, Any])
        except (Unanswered, ValueError, RecursionError) as error:
            log.warning("the identity provider says nothing of its user", provider=self.name, error=str(error))
            raise self._away() from error

    def _away(self) -> Reject:
        return Reject(Code.UNAVAILABLE, f"{self.settings.label} cannot be reached now; try again.")


def challenge_of(verifier: str) -> str:
    """Return the S256 challenge of a PKCE verifier (RFC 7636, 4.2)."""
    digest = hashlib.sha256(verifier.encode("utf-8", "surrogatepass")).digest()
    return urlsafe_b64encode(digest).rstrip(b"=").decode()
