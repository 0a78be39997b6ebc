"""`/auth/sessions`: a user sees where they are logged in, and ends it there."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field
from sqlalchemy import true

from parley.auth.accounts.sessions.sessions import SessionDetails
from parley.auth.components import Bearer, Current
from parley.auth.http.endpoints import Ok
from parley.auth.tables import sessions
from parley.common.errors import Code, Reject

router = APIRouter(prefix="/auth/sessions", tags=["auth"])

SessionId = Annotated[str, Path(pattern=r"^s_[0-9a-f]{32}$")]


class SessionList(BaseModel):
    """A user's sessions, those used last first."""

    sessions: list[SessionDetails]


class EndedSessions(BaseModel):
    """How many sessions were ended."""

    ended: int = Field(description="how many stood until now")


@router.get("", summary="Where am I logged in")
async def list_sessions(components: Current, identity: Bearer) -> SessionList:
    """The sessions of the bearer that stand; none for who logs in elsewhere."""
    return SessionList(sessions=await components.sessions.of_user(identity.user_id, identity.login))


@router.delete("/{session_id}", summary="End one session")
async def end_session(session_id: SessionId, components: Current, identity: Bearer) -> Ok:
    """Its tokens are refused from now on and its connections end; `not_found` for one that is not the bearer's."""
    ended = await components.sessions.end(identity.user_id, sessions.c.id == session_id)
    if not ended:
        raise Reject(Code.NOT_FOUND, "You have no such session.")
    await components.gateways.end_sessions(identity.user_id, ended)
    return Ok()


@router.delete("", summary="End all other sessions")
async def end_other_sessions(components: Current, identity: Bearer) -> EndedSessions:
    """All but the session of the access token that asks; all of them if that is of none."""
    others = sessions.c.id != identity.login if identity.login else true()
    ended = await components.sessions.end(identity.user_id, others)
    await components.gateways.end_sessions(identity.user_id, ended)
    return EndedSessions(ended=len(ended))
