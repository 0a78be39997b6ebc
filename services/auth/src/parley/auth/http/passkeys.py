"""`/auth/passkeys`: a user's passkeys."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import APIRouter, Path, Response

from parley.auth.components import Current
from parley.auth.factors.passkey_ceremonies import NewCredential
from parley.auth.factors.passkeys import PasskeyDetails
from parley.auth.http.endpoints import Ok
from parley.auth.http.factors import GivenProof, Proven, RecoveryCodes
from parley.auth.http.login_steps import PasskeyOptions
from parley.auth.http.me import Owner
from parley.auth.names import MAX_DISPLAY_NAME
from parley.common.http.bodies import body_of, described

router = APIRouter(prefix="/auth/passkeys", tags=["second factors"])

PasskeyId = Annotated[str, Path(pattern=r"^pass_[0-9a-f]{32}$")]
PasskeyName = Annotated[
    str, msgspec.Meta(min_length=1, max_length=MAX_DISPLAY_NAME, pattern=r"^[^\x00-\x1f\x7f]+(?!\n)$")
]


class NewPasskey(msgspec.Struct, frozen=True):
    """An answer of `navigator.credentials.create()` to the options for a registration, and what its user calls it."""

    passkey: NewCredential
    name: PasskeyName = "Passkey"


class PasskeyRename(msgspec.Struct, frozen=True):
    """What its user calls it."""

    name: PasskeyName


class RegisteredPasskey(RecoveryCodes):
    """A new passkey; recovery codes if it is the first factor."""

    passkey: PasskeyDetails


@router.post("/options", summary="What a passkey is asked to be made", openapi_extra=described(Proven))
async def registration_options(
    identity: Owner, body: GivenProof, response: Response, components: Current
) -> PasskeyOptions:
    """Good for five minutes and one passkey of this session's user. `limit_exceeded` beyond 20."""
    response.headers["cache-control"] = "no-store"
    return PasskeyOptions(public_key=await components.own_factors.passkey_options(identity, body.proof))


@router.post("", summary="Register a passkey", openapi_extra=described(NewPasskey))
async def register(
    identity: Owner, body: Annotated[NewPasskey, body_of(NewPasskey)], response: Response, components: Current
) -> RegisteredPasskey:
    """From now on it logs in by itself, and after the password a factor is asked for."""
    response.headers["cache-control"] = "no-store"
    details, codes = await components.own_factors.register_passkey(identity, body.passkey, body.name)
    await components.own_address.tell(identity.user_id, "A passkey was added, which logs in without the password.")
    return RegisteredPasskey(passkey=details, recovery_codes=codes)


@router.put("/{passkey_id}", summary="Rename a passkey", openapi_extra=described(PasskeyRename))
async def rename(
    identity: Owner,
    passkey_id: PasskeyId,
    body: Annotated[PasskeyRename, body_of(PasskeyRename)],
    components: Current,
) -> PasskeyDetails:
    """`not_found` for one that is not the bearer's."""
    return await components.own_factors.rename_passkey(identity, passkey_id, body.name)


@router.delete("/{passkey_id}", summary="Remove a passkey", openapi_extra=described(Proven))
async def remove(identity: Owner, passkey_id: PasskeyId, body: GivenProof, components: Current) -> Ok:
    """It logs in no more. Recovery codes go with the last factor."""
    await components.own_factors.remove_passkey(identity, passkey_id, body.proof)
    await components.own_address.tell(identity.user_id, "A passkey was removed.")
    return Ok()
