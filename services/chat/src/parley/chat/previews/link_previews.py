"""Previews of links: fetched when somebody asks, under a guard, and remembered for all.

Which pages there are, who asks decides, so everything about a fetch is bounded: whom it reaches (`guarded_fetch`), how
often one user causes one, how many there are at a time, and how long and large each of them is. A page that gave
nothing is not asked again for an hour. Only a digest of the link is stored, since links hold secrets as well.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from datetime import timedelta
from typing import Annotated

import msgspec

from parley.chat.log.database import DATABASE_ERRORS, Pool
from parley.chat.previews.page_head import HTML_TYPES, Preview, first_link, preview_of
from parley.common.errors import Code, Reject
from parley.common.http.guarded_fetch import Fetched, PublicFetcher, RefusedAddress, Unfetched, check_url
from parley.common.process.outage_log import OutageLog
from parley.common.rate_limiter import RateLimiter
from parley.framework import get_logger

log = get_logger(__name__)
outages = OutageLog(log, "old previews cannot be removed")

MAX_TEXT = 8_000
"""Characters of a text in which a link is looked for."""
MAX_BYTES = 512 * 1024
"""Bytes of a page that are read: its head is within these."""
SECONDS = 5.0
REDIRECTS = 3
AT_ONCE, WAITING = 8, 64
"""Pages that one process fetches at a time, and those that wait for it."""
PER_SECOND, BURST = 0.5, 10
"""Fetches of one user; what is remembered does not count."""
KEPT, FAILED_KEPT = timedelta(hours=24), timedelta(hours=1)
SWEEP_SECONDS = 600.0
_HEADERS = {"user-agent": "Parley link preview", "accept": "text/html"}

_FIND = "SELECT preview::text FROM chat.previews WHERE link = $1 AND expires_at > clock_timestamp()"
_KEEP = """
INSERT INTO chat.previews (link, preview, expires_at) VALUES ($1, $2::json, clock_timestamp() + $3::interval)
ON CONFLICT (link) DO UPDATE SET preview = excluded.preview, expires_at = excluded.expires_at
"""
_SWEEP = """
DELETE FROM chat.previews WHERE link = ANY(ARRAY(
  SELECT link FROM chat.previews WHERE expires_at < clock_timestamp() LIMIT 1000
))
"""


class AskPreview(msgspec.Struct, frozen=True):
    """`preview`: what the first link in a text leads to."""

    text: Annotated[str, msgspec.Meta(max_length=MAX_TEXT)]


class LinkPreview(msgspec.Struct, frozen=True, omit_defaults=True):
    """A link and what its page says of itself. Without `preview` there is none; without `url`, no link."""

    url: str | None = None
    preview: Preview | None = None


class LinkPreviews:
    """Makes previews. One for a process, where they are allowed."""

    def __init__(self, pool: Pool, fetcher: PublicFetcher) -> None:
        self._pool = pool
        self._fetcher = fetcher
        self._turn = asyncio.Semaphore(AT_ONCE)
        self._rates = RateLimiter(PER_SECOND, BURST)
        self._fetching: dict[bytes, asyncio.Task[Preview | None]] = {}

    async def preview(self, user_id: str, text: str) -> LinkPreview:
        """Return the preview of the first link in a text. Raises `Reject`, for too many fetches."""
        url = first_link(text)
        if url is None:
            return LinkPreview()
        try:
            check_url(url)
        except RefusedAddress:
            return LinkPreview(url)
        link = hashlib.sha256(url.encode()).digest()
        remembered: str | None = await self._pool.fetchval(_FIND, link)
        if remembered is not None:
            return LinkPreview(url, msgspec.json.decode(remembered, type=Preview | None))
        if (fetching := self._fetching.get(link)) is None:
            if len(self._fetching) >= WAITING:
                raise Reject(Code.OVERLOADED)
            # Only for what has to be fetched: links that others have shown already are free.
            if not self._rates.take(user_id, time.monotonic()):
                raise Reject(Code.RATE_LIMITED)
            # A task of its own: others may wait for it, and it is remembered whoever goes away.
            fetching = self._fetching[link] = asyncio.create_task(self._fetch(link, url), name="preview")
            fetching.add_done_callback(lambda _: self._fetching.pop(link, None))
        # Shielded, since who goes away must not cancel what others wait for.
        return LinkPreview(url, await asyncio.shield(fetching))

    async def run(self) -> None:
        """Remove what has expired, for ever; then end what is being fetched."""
        try:
            while True:
                await asyncio.sleep(SWEEP_SECONDS)
                self._rates.sweep(time.monotonic())
                try:
                    await self._pool.fetchval(_SWEEP)
                except (*DATABASE_ERRORS, Reject) as error:
                    outages.note(error)
        finally:
            for fetching in list(self._fetching.values()):
                fetching.cancel()
            await self._fetcher.close()

    async def _fetch(self, link: bytes, url: str) -> Preview | None:
        try:
            async with self._turn:
                page = await self._fetcher.fetch(
                    url, headers=_HEADERS, max_bytes=MAX_BYTES, seconds=SECONDS, redirects=REDIRECTS, wanted=_is_page
                )
            found = preview_of(page.headers.get("content-type", ""), page.body) if _is_page(page) else None
        except (RefusedAddress, Unfetched) as error:
            # In no answer: who asks must not learn what there is at which address.
            log.debug("no preview", error=str(error))
            found = None
        encoded = msgspec.json.encode(found).decode()
        # Failures too, for a shorter while: a page that is away would be asked by everybody who sees the link.
        await self._pool.fetchval(_KEEP, link, encoded, KEPT if found is not None else FAILED_KEPT)
        return found


def previews_of(previews: LinkPreviews | None) -> LinkPreviews:
    """Return what makes previews. Raises `Reject(not_found)` where no pages are fetched."""
    if previews is None:
        raise Reject(Code.NOT_FOUND, "This server fetches no pages.")
    return previews


def _is_page(head: Fetched) -> bool:
    kind = head.headers.get("content-type", "").partition(";")[0].strip().lower()
    encoding = head.headers.get("content-encoding", "identity").lower()
    return head.status == 200 and kind in HTML_TYPES and encoding == "identity"
