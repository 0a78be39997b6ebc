"""Reading tokens: what one says about its key, unverified, and its claims once a key has been chosen."""

from __future__ import annotations

from base64 import urlsafe_b64decode
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from jwt import PyJWK
from jwt.exceptions import ExpiredSignatureError, PyJWTError

from parley.auth.tokens.claims import invalid
from parley.common.errors import Code, Reject

LEEWAY = 5
"""Seconds after its end in which an adopter's token is still taken: its issuer's clock may be behind."""


class _Header(msgspec.Struct):
    alg: Any = None
    kid: str = ""


class _Payload(msgspec.Struct):
    iss: Any = None


PartT = TypeVar("PartT")
_headers = msgspec.json.Decoder(_Header)
_payloads = msgspec.json.Decoder(_Payload)


@dataclass(frozen=True)
class Unverified:
    """What a token says of itself. It only chooses which key must fit; all of it is read again, and checked, then."""

    token: str
    algorithm: Any
    kid: str

    @cached_property
    def issuer(self) -> Any:
        """The `iss` claim, whatever it is."""
        return _part(self.token.split(".", 2)[1:2], _payloads).iss


def unverified(token: str) -> Unverified:
    """Look at a token's header. Raises `Reject(invalid_token)` for what is no token."""
    header = _part(token.split(".", 1)[:1], _headers)
    return Unverified(token, header.alg, header.kid)


def decode(
    token: str,
    key: Ed25519PublicKey | PyJWK,
    algorithm: str,
    *,
    issuer: str | None = None,
    audience: str | None = None,
    leeway: int = 0,
    require: tuple[str, ...] = ("sub", "exp"),
    verify_end: bool = True,
) -> dict[str, Any]:
    """Return the claims of a token that this key signed by this algorithm, which has not expired.

    `iat` and `nbf` are the caller's to check, and without `verify_end` so is `exp`. Raises `Reject`: `invalid_token` or
    `expired_token`.
    """
    try:
        return jwt.decode(
            token,
            key,
            # The key's own algorithm, never the header's: a token must not choose how it is verified (RFC 8725, 3.1).
            algorithms=[algorithm],
            issuer=issuer,
            audience=audience,
            leeway=leeway,
            options={
                "require": list(require),
                "verify_aud": audience is not None,
                "verify_exp": verify_end,
                # PyJWT has no leeway for a token from a moment ahead. `ExternalUsers` looks at issuers' clocks, and our
                # own tokens go by the database's.
                "verify_iat": False,
                "verify_nbf": False,
            },
        )
    except ExpiredSignatureError as error:
        raise Reject(Code.EXPIRED_TOKEN) from error
    except (PyJWTError, ValueError, TypeError, OverflowError, RecursionError) as error:
        # PyJWT's own words name the claim at fault; other errors come from malformed claims and say nothing useful.
        raise invalid(str(error) if isinstance(error, PyJWTError) else "it is malformed") from error


def _part(encoded: list[str], decoder: msgspec.json.Decoder[PartT]) -> PartT:
    try:
        (text,) = encoded
        return decoder.decode(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, RecursionError) as error:  # those of base64 and of msgspec among them
        raise invalid("it is not a JWT") from error
