"""Splitting what was gathered into messages that the broker takes, pure. Whatever is sent in batches is cut here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def split_by_size(items: Iterable[T], max_bytes: int, weigh: Callable[[T], int]) -> Iterator[list[T]]:
    """Split items into runs of at most `max_bytes` altogether, in order; one that is heavier is a run by itself."""
    chunk: list[T] = []
    size = 0
    for item in items:
        weight = weigh(item)
        if chunk and size + weight > max_bytes:
            yield chunk
            chunk, size = [], 0
        chunk.append(item)
        size += weight
    if chunk:
        yield chunk
