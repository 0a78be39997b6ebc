"""Addresses that somebody else named: only public ones are asked, whatever a name or a redirect leads to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from parley.common.http.guarded_fetch import Fetched, RefusedAddress, Unfetched, is_public
from tests.support.odd_site import PUBLIC, OddSite, running_site


@pytest.fixture
async def site() -> AsyncIterator[OddSite]:
    async with running_site() as running:
        yield running


STRICT: dict[str, Any] = {"max_bytes": 1000, "seconds": 5.0, "redirects": 3}


async def fetch(site: OddSite, url: str, **options: Any) -> Fetched:
    return await site.fetcher.fetch(url, **STRICT | options)


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.0.0.1", "172.16.1.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "224.0.0.1",
     "255.255.255.255", "192.0.2.1", "198.18.0.1", "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254",
     "ff02::1", "::ffff:169.254.169.254", "::ffff:7f00:1", "2002:7f00:1::", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1",
     "2001:0:53aa:64c:0:fbff:5601:5601", "::7f00:1", "2001:db8::1", "localhost", "", "0x7f.1", "2130706433"],
)  # fmt: skip
def test_addresses_that_are_not_public(address: str):
    assert not is_public(address)


@pytest.mark.parametrize("address", [PUBLIC, "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_public_addresses(address: str):
    assert is_public(address)


@pytest.mark.parametrize(
    "url",
    ["http://169.254.169.254/latest/meta-data", "http://[::ffff:169.254.169.254]/", "http://127.0.0.1/", "http://[::1]/",
     "http://user@site.example/", "http://site.example:22/", "http://site.example:8080/", "ftp://site.example/",
     "file:///etc/passwd", "gopher://site.example/", "http://", "http:///x", "http://site.example/\r\nx: y",
     "http://site.example\\@127.0.0.1/", "http://a b/", "http://site.example:x/", "javascript:alert(1)",
     "http://site.example/" + "a" * 3000, "http://sité.example/", "http://[::1", ""],
)  # fmt: skip
async def test_what_is_not_plainly_a_public_page_is_not_asked(site: OddSite, url: str):
    with pytest.raises(RefusedAddress):
        await fetch(site, url)
    assert site.home.connected == []


async def test_a_name_of_an_inner_address_is_not_asked_even_beside_a_public_one(site: OddSite):
    for inner in ("169.254.169.254", "::ffff:10.0.0.1", "fd00::1"):
        site.names["trap.example"] = [[PUBLIC, inner]]
        with pytest.raises(RefusedAddress):
            await fetch(site, "http://trap.example/")
    assert site.home.connected == []


async def test_what_was_looked_at_is_what_is_connected_to(site: OddSite):
    site.page("/", "hello")
    site.names["rebinding.example"] = [[PUBLIC], ["127.0.0.1"]]
    assert (await fetch(site, "http://rebinding.example/")).body == b"hello"
    assert site.home.connected == [PUBLIC], "the address, not the name, which by now means another one"
    with pytest.raises(RefusedAddress):
        await fetch(site, "http://rebinding.example/")


async def test_redirects_are_bounded_and_each_is_looked_at(site: OddSite):
    site.redirect("/in", "http://169.254.169.254/latest")
    site.redirect("/file", "file:///etc/passwd")
    site.names["inner.example"] = [["10.0.0.7"]]
    site.redirect("/name", "http://inner.example/")
    for path in ("/in", "/file", "/name"):
        with pytest.raises(RefusedAddress):
            await fetch(site, f"http://site.example{path}")
    site.redirect("/round", "/round")
    with pytest.raises(Unfetched, match="redirects"):
        await fetch(site, "http://site.example/round")
    assert len(site.asked) == 3 + 4
    site.redirect("/there", "//other.example/page?a=b")
    site.page("/page?a=b", "found")
    found = await fetch(site, "http://site.example/there")
    assert (found.url, found.body, found.complete) == ("http://other.example/page?a=b", b"found", True)
    assert set(site.home.connected) == {PUBLIC}


async def test_an_answer_is_bounded_in_size_and_time(site: OddSite):
    site.page("/long", "x" * 5000)
    long = await fetch(site, "http://site.example/long")
    assert (len(long.body), long.complete) == (1000, False)
    assert (await fetch(site, "http://site.example/long", wanted=lambda head: False)).body == b""
    with pytest.raises(Unfetched):
        await fetch(site, "http://site.example/silent", seconds=0.2)
    site.answers["/broken"] = b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n"
    with pytest.raises(Unfetched):
        await fetch(site, "http://site.example/broken")


async def test_nothing_of_ours_is_sent(site: OddSite):
    site.page("/", "hello", head="set-cookie: a=b\r\n")
    for _ in range(2):
        await fetch(site, "http://site.example/")
    assert site.asked[0] == site.asked[1], "no cookie"
    names = {line.split(b":")[0].lower() for line in site.asked[0].split(b"\r\n")[1:] if line}
    assert names == {b"host", b"accept-encoding", b"connection"}
