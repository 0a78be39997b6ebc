"""`/auth/me/email`, `/auth/password-reset`: an address of one's own, and what it is good for."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

import msgspec
from fastapi import APIRouter, Request
from pydantic import BaseModel

from parley.auth.components import Current, link_url
from parley.auth.email_address import MAX_EMAIL
from parley.auth.http.endpoints import Ok, device_of
from parley.auth.http.me import CurrentPassword, Owner, OwnPassword, own_proof
from parley.auth.mail.mail_tokens import MAX_TOKEN
from parley.auth.password_policy import MAX_PASSWORD, MIN_PASSWORD
from parley.common.errors import Reject
from parley.common.http.api import correlation_id
from parley.common.http.bodies import body_of, described

router = APIRouter(prefix="/auth", tags=["mail"])

MailedToken = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_TOKEN, pattern=r"^[A-Za-z0-9_-]+(?!\n)$")]


class OwnEmail(msgspec.Struct, frozen=True):
    """An address, and the password of the account, to be sure."""

    email: Annotated[str, msgspec.Meta(min_length=3, max_length=MAX_EMAIL)]
    password: CurrentPassword


class VerifyEmail(msgspec.Struct, frozen=True):
    """What the mail to an address says."""

    token: MailedToken


class ResetRequest(msgspec.Struct, frozen=True):
    """A username, or a verified e-mail address."""

    identifier: Annotated[str, msgspec.Meta(max_length=MAX_EMAIL, pattern=r"^[!-~]{3,}(?!\n)$")]


class PasswordReset(msgspec.Struct, frozen=True):
    """What the mail says, and the password there shall be."""

    token: MailedToken
    new_password: Annotated[str, msgspec.Meta(min_length=MIN_PASSWORD, max_length=MAX_PASSWORD)]


class VerifiedEmail(BaseModel):
    """An address that is the user's own."""

    email: str


@router.put("/me/email", summary="Give my account an e-mail address", openapi_extra=described(OwnEmail))
async def give(
    identity: Owner, body: Annotated[OwnEmail, body_of(OwnEmail)], request: Request, components: Current
) -> Ok:
    """A mail is sent there; the address counts once what it says was confirmed, and until then the one of before.

    The answer is the same for an address that another account has. `invalid_credentials` if the password is wrong.
    """
    proof = own_proof(body.password, request, components)
    await components.own_address.give(identity, proof, body.email, link_url(request, components))
    return Ok()


@router.post("/me/email/confirm", summary="Confirm that an address is mine", openapi_extra=described(VerifyEmail))
async def confirm(
    identity: Owner, body: Annotated[VerifyEmail, body_of(VerifyEmail)], components: Current
) -> VerifiedEmail:
    """By whoever gave it: the token of somebody else's mail confirms nothing. `already_exists` if another has it."""
    return VerifiedEmail(email=await components.own_address.confirm(identity, body.token))


@router.delete("/me/email", summary="Take my address away", openapi_extra=described(OwnPassword))
async def remove(
    identity: Owner, body: Annotated[OwnPassword, body_of(OwnPassword)], request: Request, components: Current
) -> Ok:
    """Then a forgotten password cannot be reset by mail. `not_found` where there is none."""
    proof = own_proof(body.password, request, components)
    await components.own_address.remove(identity, proof)
    return Ok()


@router.post("/password-reset", summary="Forgot my password", openapi_extra=described(ResetRequest))
async def ask_reset(body: Annotated[ResetRequest, body_of(ResetRequest)], request: Request, components: Current) -> Ok:
    """If somebody has this username or verified address, a mail is on its way; the answer does not tell.

    `forbidden` on a server that sends no mail.
    """
    components.password_resets.ask(body.identifier, device_of(request).address, link_url(request, components))
    return Ok()


@router.post("/password-reset/confirm", summary="Set a forgotten password", openapi_extra=described(PasswordReset))
async def reset(body: Annotated[PasswordReset, body_of(PasswordReset)], request: Request, components: Current) -> Ok:
    """Every session and connection ends; log in with the new password, and the second factor where one is on.

    `invalid_credentials` for a token that is not good, or not any more.
    """
    address = device_of(request).address
    order = await components.password_resets.confirm(body.token, body.new_password, address, correlation_id(request))
    # Tokens are refused already. A gateway that cannot be told now finds out when it asks who is welcome.
    with suppress(Reject):
        await components.kicks.carry_out(order)
    return Ok()
