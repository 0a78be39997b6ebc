"""Splits batches into messages that NATS accepts. Everything that is sent in batches is cut by this function. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def split_by_size(items: Iterable[T], max_bytes: int, weigh: Callable[[T], int]) -> Iterator[list[T]]:
    """Split items, in order, into runs that weigh at most `max_bytes`. A heavier item is a run by itself."""
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
