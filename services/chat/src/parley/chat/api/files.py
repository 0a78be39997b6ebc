"""Files over HTTP: announcing them, sending their parts, and fetching them by tickets."""

from __future__ import annotations

import time
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse

from parley.chat.api.rest import Caller, Chat, Reader, json_answer, permitted
from parley.chat.attachments.downloads import AskFiles, part_of
from parley.chat.attachments.files import Files
from parley.chat.attachments.media_types import disposition, served_as
from parley.chat.attachments.uploads import NewUpload
from parley.chat.log.database import reachable
from parley.chat.state import ChatState
from parley.common.http.bodies import body_of, described
from parley.framework import Code, Reject

router = APIRouter(prefix="/api", tags=["files"])
PARTS_PREFIX = "/api/uploads/"
"""Paths whose PUTs are read piece by piece, and bounded, by their endpoint."""

_PART = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}
# Whatever is in a file, no browser runs it: it is of the type that it is served as, in a sandbox, from no origin.
_HEADERS = {
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; sandbox",
    "referrer-policy": "no-referrer",
    "cache-control": "private, max-age=300",
    "accept-ranges": "bytes",
}


def files_of(chat: ChatState) -> Files:
    """Return the parts that deal with files. Raises `Reject(not_found)` where none are taken."""
    if chat.files is None:
        raise Reject(Code.NOT_FOUND, "This server takes no files.")
    return chat.files


@router.post("/uploads", openapi_extra=described(NewUpload))
async def create_upload(chat: Chat, identity: Caller, asked: Annotated[NewUpload, body_of(NewUpload)]) -> Response:
    """Announce a file, before its bytes are sent."""
    permitted(identity, writes=True)
    with reachable():
        return json_answer(await files_of(chat).uploads.create(identity.user_id, asked))


@router.get("/uploads")
async def list_uploads(
    chat: Chat,
    identity: Reader,
    after: Annotated[UUID | None, Query(description="id of the last upload of the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> Response:
    """One's own uploads, by id."""
    with reachable():
        found, more = await files_of(chat).uploads.own(identity.user_id, after, limit)
    return json_answer({"uploads": found, "more": more})


@router.put("/uploads/{upload}/parts/{part}", openapi_extra=_PART)
async def put_part(upload: UUID, part: int, request: Request, chat: Chat, identity: Caller) -> Response:
    """Send a part of a file, as bytes. Sending it again replaces it."""
    permitted(identity, writes=True)
    with reachable():
        await files_of(chat).uploads.put_part(identity.user_id, upload, part, request.stream())
    return json_answer({})


@router.post("/uploads/{upload}/complete")
async def complete_upload(upload: UUID, chat: Chat, identity: Caller) -> Response:
    """Say that all of a file was sent: it is looked at, and may then be attached."""
    permitted(identity, writes=True)
    with reachable():
        return json_answer({"upload": await files_of(chat).uploads.complete(identity.user_id, upload)})


@router.delete("/uploads/{upload}")
async def drop_upload(upload: UUID, chat: Chat, identity: Caller) -> Response:
    """Throw a file away that no message has."""
    permitted(identity, writes=True)
    with reachable():
        await files_of(chat).uploads.drop(identity.user_id, upload)
    return json_answer({})


@router.post("/files", openapi_extra=described(AskFiles))
async def file_addresses(chat: Chat, identity: Reader, asked: Annotated[AskFiles, body_of(AskFiles)]) -> Response:
    """Addresses of files that one may have, for some minutes."""
    with reachable():
        return json_answer(await files_of(chat).downloads.addresses(identity.user_id, asked.uploads))


@router.head("/files/{ticket}/{what}", include_in_schema=False)
@router.get("/files/{ticket}/{what}", response_class=Response)
async def fetch_file(ticket: str, what: Literal["file", "thumbnail"], request: Request, chat: Chat) -> Response:
    """A file, or a range of it. The ticket in the address says who asks; what they may have is looked up now."""
    downloads = files_of(chat).downloads
    with reachable():
        user_id, found = await downloads.redeem(ticket, what)
        if not chat.request_rates.take(user_id, time.monotonic()):
            raise Reject(Code.RATE_LIMITED)
        kind, shown = served_as(found.type)
        headers = _HEADERS | {"etag": found.etag, "content-disposition": disposition(found.name, shown=shown)}
        if request.headers.get("if-none-match") == found.etag:
            return Response(status_code=304, headers=headers)
        first, last, status = 0, found.size - 1, 200
        asked = request.headers.get("range", "")
        if asked and request.headers.get("if-range", found.etag) == found.etag:
            try:
                if (part := part_of(asked, found.size)) is not None:
                    first, last, status = *part, 206
                    headers["content-range"] = f"bytes {first}-{last}/{found.size}"
            except ValueError:
                return Response(status_code=416, headers=headers | {"content-range": f"bytes */{found.size}"})
        headers["content-length"] = str(last - first + 1)
        headers["content-type"] = kind
        if request.method == "HEAD":
            return Response(status_code=status, headers=headers)
        return StreamingResponse(await downloads.bytes_of(user_id, found.upload, what, first, last), status, headers)
