"""The two ceremonies of WebAuthn: what a browser is asked, and whether its answer is good. Pure.

The library `webauthn` does the work. A challenge is a ticket (see `tickets`): an answer to it shows by itself what it
was made for, for whom, and when.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import msgspec
from webauthn import (
    generate_authentication_options,
    generate_registration_options,
    verify_authentication_response,
    verify_registration_response,
)
from webauthn.helpers import base64url_to_bytes, options_to_json_dict, parse_client_data_json
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    AuthenticatorTransport,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from parley.auth.factors.tickets import SECONDS
from parley.auth.settings import AuthSettings
from parley.common.errors import Code, Reject

MAX_CREDENTIAL_ID = 1023
"""Bytes (WebAuthn, 4)."""
_LOCALHOST = re.compile(r"http://localhost(:[0-9]{1,5})?")
_NAME = "Parley"

Short = Annotated[str, msgspec.Meta(min_length=1, max_length=1400)]
Long = Annotated[str, msgspec.Meta(min_length=1, max_length=16_384)]


class Attestation(msgspec.Struct, frozen=True):
    """What an authenticator says of a new passkey, in base64url."""

    client_data: Short = msgspec.field(name="clientDataJSON")
    attestation_object: Long = msgspec.field(name="attestationObject")
    transports: Annotated[list[Annotated[str, msgspec.Meta(max_length=32)]], msgspec.Meta(max_length=16)] = []


class Assertion(msgspec.Struct, frozen=True):
    """What an authenticator signs, in base64url."""

    client_data: Short = msgspec.field(name="clientDataJSON")
    authenticator_data: Short = msgspec.field(name="authenticatorData")
    signature: Short
    user_handle: Annotated[str, msgspec.Meta(max_length=128)] | None = msgspec.field(name="userHandle", default=None)


class NewCredential(msgspec.Struct, frozen=True):
    """`PublicKeyCredential.toJSON()` of `navigator.credentials.create()`."""

    id: Short
    raw_id: Short = msgspec.field(name="rawId")
    type: Annotated[str, msgspec.Meta(max_length=32)]
    response: Attestation


class PresentedCredential(msgspec.Struct, frozen=True):
    """`PublicKeyCredential.toJSON()` of `navigator.credentials.get()`."""

    id: Short
    raw_id: Short = msgspec.field(name="rawId")
    type: Annotated[str, msgspec.Meta(max_length=32)]
    response: Assertion


class VerifiedRegistration(NamedTuple):
    """A passkey whose registration was good: what is kept of it, as the authenticator says it."""

    credential: bytes
    public_key: bytes
    sign_count: int
    backed_up: bool


class VerifiedAssertion(NamedTuple):
    """A signature that was good, and what it says of the authenticator. Its count is not judged yet."""

    sign_count: int
    backed_up: bool
    user_verified: bool


class RelyingParty:
    """Whom passkeys are for: a domain, and the origins of pages that use them."""

    def __init__(self, settings: AuthSettings) -> None:
        self.id = settings.passkey_rp_id
        self._origins = settings.passkey_origins

    def require(self) -> None:
        """Raise `Reject(forbidden)` where no domain is configured."""
        if not self.id:
            raise Reject(Code.FORBIDDEN, "Passkeys need PARLEY_AUTH_PUBLIC_URL to be set.")

    def registration_options(
        self, user_id: str, username: str, display_name: str, challenge: bytes, known: Sequence[bytes]
    ) -> dict[str, Any]:
        """Return what `navigator.credentials.create()` is asked."""
        return options_to_json_dict(
            generate_registration_options(
                rp_id=self.id,
                rp_name=_NAME,
                user_id=user_id.encode(),
                user_name=username,
                user_display_name=display_name,
                challenge=challenge,
                timeout=SECONDS * 1000,
                # The same authenticator twice would look like two factors, and be lost as one.
                exclude_credentials=[PublicKeyCredentialDescriptor(id=each) for each in known],
                authenticator_selection=AuthenticatorSelectionCriteria(
                    # Preferred and not required: older keys without storage are good second factors.
                    resident_key=ResidentKeyRequirement.PREFERRED,
                    user_verification=UserVerificationRequirement.PREFERRED,
                ),
            )
        )

    def authentication_options(
        self, challenge: bytes, allowed: Sequence[tuple[bytes, Sequence[str]]] = ()
    ) -> dict[str, Any]:
        """Return what `navigator.credentials.get()` is asked.

        With none `allowed`, any passkey that verifies its user.
        """
        return options_to_json_dict(
            generate_authentication_options(
                rp_id=self.id,
                challenge=challenge,
                timeout=SECONDS * 1000,
                allow_credentials=[
                    PublicKeyCredentialDescriptor(
                        id=credential, transports=[AuthenticatorTransport(transport) for transport in transports]
                    )
                    for credential, transports in allowed
                ],
                # As a second factor it follows a password, so to have it is enough. Alone it must also know its user.
                user_verification=UserVerificationRequirement.PREFERRED
                if allowed
                else UserVerificationRequirement.REQUIRED,
            )
        )

    def registered(self, credential: NewCredential, challenge: bytes) -> VerifiedRegistration:
        """Return what a registration says, if it is good. Raises `Reject(invalid_credentials)`."""
        try:
            origin = self._origin_of(credential.response.client_data)
            verified = verify_registration_response(
                credential=msgspec.to_builtins(credential),
                expected_challenge=challenge,
                expected_rp_id=self.id,
                expected_origin=origin,
            )
        except Exception as error:  # the library raises whatever malformed CBOR and certificates make it
            raise _refused() from error
        # An authenticator that says more does not keep to WebAuthn (7.1), whatever the library lets pass.
        if len(verified.credential_id) > MAX_CREDENTIAL_ID:
            raise _refused()
        return VerifiedRegistration(
            verified.credential_id, verified.credential_public_key, verified.sign_count, verified.credential_backed_up
        )

    def presented(
        self, credential: PresentedCredential, challenge: bytes, public_key: bytes, *, user_verification: bool
    ) -> VerifiedAssertion:
        """Return what a signature says, if it is good; its count is the caller's to judge. Raises `Reject`."""
        try:
            origin = self._origin_of(credential.response.client_data)
            verified = verify_authentication_response(
                credential=msgspec.to_builtins(credential),
                expected_challenge=challenge,
                expected_rp_id=self.id,
                expected_origin=origin,
                credential_public_key=public_key,
                # The library would refuse it without saying why; `Passkeys` compares the counts, and logs a copy.
                credential_current_sign_count=0,
                require_user_verification=user_verification,
            )
        # As above; whoever guesses learns no more than that it was not accepted.
        except Exception as error:
            raise _refused() from error
        return VerifiedAssertion(verified.new_sign_count, verified.credential_backed_up, verified.user_verified)

    def _origin_of(self, client_data: str) -> str:
        """Return the origin of the page that asked. Raises `ValueError` for one that may not."""
        said = parse_client_data_json(base64url_to_bytes(client_data))
        allowed = said.origin in self._origins if self._origins else _LOCALHOST.fullmatch(said.origin) is not None
        # A page within a foreign one could be covered by it (clickjacking).
        if not allowed or said.cross_origin:
            raise ValueError("not a page of ours")
        return said.origin


def challenge_in(client_data: str) -> bytes:
    """Return the challenge that somebody says was signed. Raises `Reject(invalid_credentials)`."""
    try:
        return parse_client_data_json(base64url_to_bytes(client_data)).challenge
    except Exception as error:
        raise _refused() from error


def known_transports(transports: Sequence[str]) -> list[str]:
    """Return those among some transports that we know."""
    known = {str(each.value) for each in AuthenticatorTransport}
    return sorted(known.intersection(transports))


def decoded(text: str) -> bytes:
    """Return the bytes of base64url. Raises `Reject(invalid_credentials)`."""
    try:
        return base64url_to_bytes(text)
    except ValueError as error:
        raise _refused() from error


def _refused() -> Reject:
    return Reject(Code.INVALID_CREDENTIALS, "The passkey was not accepted.")
