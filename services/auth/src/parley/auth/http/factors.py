"""`/auth/factors`: a user's authenticator app and recovery codes, and the proof that changes of factors ask for."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from parley.auth.components import Bearer, Current
from parley.auth.factors.factor_checks import AppCode, ShownFactor, Ticketed
from parley.auth.factors.own_factors import FactorsOverview
from parley.auth.factors.tickets import SECONDS
from parley.auth.http.endpoints import Ok
from parley.auth.http.me import CurrentPassword, Owner, own_proof
from parley.common.http.bodies import body_of, described

router = APIRouter(prefix="/auth/factors", tags=["second factors"])


class ProofRequest(ShownFactor, frozen=True, kw_only=True):
    """The password, and where a factor is on, one of those."""

    password: CurrentPassword


class Proven(msgspec.Struct, frozen=True):
    """A proof, by which the changes of some minutes are made. It is of the session that asked for it."""

    proof: Ticketed


class FirstCode(msgspec.Struct, frozen=True):
    """A code of the app that was just set up."""

    code: AppCode


GivenProofRequest = Annotated[ProofRequest, body_of(ProofRequest)]
GivenProof = Annotated[Proven, body_of(Proven)]
GivenFirstCode = Annotated[FirstCode, body_of(FirstCode)]


class ProofTicket(BaseModel):
    """A proof, for changes of factors in the same session."""

    proof: str
    expires_in: int = Field(description="seconds")


class AppSecret(BaseModel):
    """A secret for an authenticator app, shown this once."""

    secret: str = Field(description="in base 32, to be typed")
    uri: str = Field(description="`otpauth://`, to be made a picture of")


class RecoveryCodes(BaseModel):
    """Recovery codes, shown this once. Each is good for one login in place of another factor."""

    recovery_codes: list[str] = Field(description="empty where those of before stay")


@router.get("", summary="My second factors")
async def overview(identity: Bearer, components: Current) -> FactorsOverview:
    """What is on; secrets and codes are never shown again."""
    return await components.own_factors.overview(identity.user_id)


@router.post("/proof", summary="Prove that it is me", openapi_extra=described(ProofRequest))
async def prove(
    identity: Owner, body: GivenProofRequest, request: Request, response: Response, components: Current
) -> ProofTicket:
    """Five minutes in which factors may be changed. `second_factor_required` says which factor is missing."""
    _no_store(response)
    # A session is not enough: whoever finds an unlocked screen must not be able to lock its user out.
    proof = own_proof(body.password, request, components)
    ticket = await components.own_factors.prove(identity, proof, body)
    return ProofTicket(proof=ticket, expires_in=SECONDS)


@router.post("/totp", summary="Set up an authenticator app", openapi_extra=described(Proven))
async def begin_totp(identity: Owner, body: GivenProof, response: Response, components: Current) -> AppSecret:
    """A secret; it counts once a code of it was confirmed. `already_exists` where an app is in use."""
    _no_store(response)
    secret, uri = await components.own_factors.begin_app(identity, body.proof)
    return AppSecret(secret=secret, uri=uri)


@router.post("/totp/confirm", summary="Use an authenticator app from now on", openapi_extra=described(FirstCode))
async def confirm_totp(identity: Owner, body: GivenFirstCode, response: Response, components: Current) -> RecoveryCodes:
    """From the next login on a code is asked for. With the first factor come recovery codes."""
    _no_store(response)
    codes = await components.own_factors.confirm_app(identity, body.code)
    await components.own_address.tell(identity.user_id, "An authenticator app is asked for at logins from now on.")
    return RecoveryCodes(recovery_codes=codes)


@router.delete("/totp", summary="Switch my authenticator app off", openapi_extra=described(Proven))
async def remove_totp(identity: Owner, body: GivenProof, components: Current) -> Ok:
    """Recovery codes go with the last factor."""
    await components.own_factors.remove_app(identity, body.proof)
    await components.own_address.tell(identity.user_id, "Your authenticator app is not asked for any more.")
    return Ok()


@router.post("/recovery-codes", summary="Make new recovery codes", openapi_extra=described(Proven))
async def new_recovery_codes(
    identity: Owner, body: GivenProof, response: Response, components: Current
) -> RecoveryCodes:
    """All codes of before are void. `not_found` where no factor is on."""
    _no_store(response)
    codes = await components.own_factors.new_recovery_codes(identity, body.proof)
    await components.own_address.tell(identity.user_id, "New recovery codes were made; those of before are void.")
    return RecoveryCodes(recovery_codes=codes)


# Secrets and codes are in these answers, which no cache on the way or in the browser may keep (RFC 9111, 5.2.2.5).
def _no_store(response: Response) -> None:
    response.headers["cache-control"] = "no-store"
