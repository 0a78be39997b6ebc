"""Previews on real Postgres, of a site of the test's own that stands for the public internet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from parley.chat.log.database import Pool
from parley.chat.previews.link_previews import BURST, LinkPreview, LinkPreviews
from parley.chat.previews.page_head import Preview
from parley.common.errors import Code, Reject
from parley.common.nats.bus import Bus
from tests.support.chat.rest_api import running_rest
from tests.support.odd_site import PUBLIC, OddSite, running_site


@pytest.fixture
async def site() -> AsyncIterator[OddSite]:
    async with running_site() as running:
        yield running


async def test_a_page_is_fetched_once_for_all_and_remembered(pool: Pool, site: OddSite):
    site.page("/page", "<title>A page</title>")
    previews = LinkPreviews(pool, site.fetcher)
    expected = LinkPreview("http://site.example/page", Preview("A page"))
    together = [previews.preview(f"u{number}", "see http://site.example/page.") for number in range(5)]
    assert await asyncio.gather(*together) == [expected] * 5
    assert await LinkPreviews(pool, site.fetcher).preview("u", "http://site.example/page#x") == expected
    assert len(site.asked) == 1
    row = await pool.fetchrow("SELECT *, expires_at - now() > interval '23 hours' AS day FROM chat.previews")
    assert row["day"]
    assert b"site.example" not in row["link"]
    await pool.fetch("UPDATE chat.previews SET expires_at = now()")
    assert await previews.preview("u", "http://site.example/page") == expected
    assert len(site.asked) == 2


@pytest.mark.parametrize(
    "text",
    ["http://169.254.169.254/latest/meta-data/", "http://[::ffff:169.254.169.254]/", "http://127.0.0.1:5432/",
     "http://user:pass@site.example/", "http://inner.example/", "http://site.example/redirect", "http://rebinding.example/",
     "http://site.example/image", "http://site.example/zipped", "http://site.example/missing", "http://site.example/empty"],
)  # fmt: skip
async def test_what_is_not_a_public_page_has_no_preview_and_nobody_learns_why(pool: Pool, site: OddSite, text: str):
    site.names["inner.example"] = [["10.0.0.7"]]
    site.names["rebinding.example"] = [["169.254.169.254"]]
    site.page("/", "<title>secret</title>")
    site.redirect("/redirect", "http://169.254.169.254/latest/meta-data/")
    site.page("/image", "<title>secret</title>", kind="image/png")
    site.page("/zipped", "<title>secret</title>", head="content-encoding: gzip\r\n")
    site.answers["/missing"] = b"HTTP/1.1 404 Not Found\r\ncontent-type: text/html\r\ncontent-length: 0\r\n\r\n"
    site.page("/empty", "")
    previews = LinkPreviews(pool, site.fetcher)
    found = await previews.preview("u", text)
    assert found == LinkPreview(text)
    assert await previews.preview("u", text) == found
    assert len(site.asked) <= 1, "a failure is remembered too"
    assert set(site.home.connected) <= {PUBLIC}
    for row in await pool.fetch("SELECT expires_at - now() < interval '61 minutes' AS hour FROM chat.previews"):
        assert row["hour"]


async def test_a_user_causes_so_many_fetches(pool: Pool, site: OddSite):
    for number in range(BURST + 1):
        site.page(f"/{number}", "<title>x</title>")
    previews = LinkPreviews(pool, site.fetcher)
    for number in range(BURST):
        await previews.preview("u", f"http://site.example/{number}")
    with pytest.raises(Reject) as caught:
        await previews.preview("u", f"http://site.example/{BURST}")
    assert caught.value.code is Code.RATE_LIMITED
    assert (await previews.preview("u", "http://site.example/0")).preview is not None, "what is remembered is free"
    assert (await previews.preview("other", f"http://site.example/{BURST}")).preview is not None
    assert await previews.preview("u", "no link") == LinkPreview()


async def test_pages_are_fetched_only_where_the_setting_says_so(database_url: str, nats_url: str, bus: Bus):
    async with running_rest(database_url, nats_url, bus) as rest:
        assert await rest.code("POST", "/previews", {"text": "http://127.0.0.1/"}) == "not_found"
    async with running_rest(database_url, nats_url, bus, chat_previews=True) as rest:
        _, answer = await rest.send("POST", "/previews", {"text": "http://127.0.0.1/"})
        assert answer == {"ok": True, "url": "http://127.0.0.1/"}
        assert await rest.code("POST", "/previews", {"text": "x" * 9000}) == "invalid_payload"
