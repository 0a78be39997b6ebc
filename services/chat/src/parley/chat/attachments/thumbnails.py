"""Has thumbnails made by a process that can do nothing else (`thumbnail_process`), one image at a time."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import NamedTuple

from parley.chat.attachments.media_types import DRAWN
from parley.chat.attachments.thumbnail_process import TOO_MANY_PIXELS
from parley.common.errors import Code, Reject

SECONDS = 15.0
MAX_BYTES = 1024 * 1024
"""Bytes of a thumbnail."""
_LINE = 32


class Thumbnail(NamedTuple):
    """A small picture of an image, and how wide and high the image itself is."""

    width: int
    height: int
    data: bytes


class ThumbnailMaker:
    """Makes thumbnails, one after the other: each may take as much memory as all else that chat does."""

    def __init__(self, most_pixels: int) -> None:
        self._most_pixels = most_pixels
        self._turn = asyncio.Semaphore(1)

    async def make(self, kind: str, pieces: AsyncIterator[bytes]) -> Thumbnail:
        """Make a thumbnail of an image of one of the types of `DRAWN`.

        Raises `Reject`: `payload_too_large` for an image of too many pixels, `invalid_payload` for bytes that are none.
        """
        async with self._turn:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-I", "-m", "parley.chat.attachments.thumbnail_process", DRAWN[kind],
                str(self._most_pixels), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL, env={},
            )  # fmt: skip
            try:
                async with asyncio.timeout(SECONDS):
                    made = await _converse(process, pieces)
                    code = await process.wait()
            except TimeoutError:
                raise Reject(Code.PAYLOAD_TOO_LARGE, "This image takes too long to decode.") from None
            finally:
                with suppress(ProcessLookupError):
                    process.kill()
        if code == TOO_MANY_PIXELS:
            raise Reject(Code.PAYLOAD_TOO_LARGE, f"An image has at most {self._most_pixels} pixels.")
        line, _, data = made.partition(b"\n")
        if code != 0 or not data or len(data) > MAX_BYTES:
            raise Reject(Code.INVALID_PAYLOAD, "This file cannot be read as the image that it is said to be.")
        width, height = map(int, line.split())
        return Thumbnail(width, height, data)


async def _converse(process: asyncio.subprocess.Process, pieces: AsyncIterator[bytes]) -> bytes:
    assert process.stdin is not None and process.stdout is not None  # noqa: S101, PT018 - both are pipes
    try:
        async for piece in pieces:
            process.stdin.write(piece)
            await process.stdin.drain()
        process.stdin.close()
    except (BrokenPipeError, ConnectionResetError):
        pass  # it has seen enough, and its exit code says what of
    made = bytearray()
    while len(made) <= MAX_BYTES + _LINE and (piece := await process.stdout.read(65_536)):
        made += piece
    return bytes(made)
