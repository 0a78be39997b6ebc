"""NUL and half of a surrogate pair, in each text of what may be sent: no database has them, and UTF-8 has no half."""

from __future__ import annotations

import json
from collections.abc import Iterator
from random import Random
from typing import Any, NamedTuple, cast
from urllib.parse import quote

from parley.common.errors import Code
from tests.fuzz.api.documents import Endpoint
from tests.fuzz.api.values import Generator

ODD = ("\x00", "\ud800")
HEADERS = ("authorization", "x-request-id", "cookie", "origin", "user-agent", "if-none-match", "range")
FAILURES = frozenset((Code.INTERNAL, Code.TIMEOUT, Code.UNAVAILABLE))


class OddRequest(NamedTuple):
    """A request, and what is odd in it."""

    what: str
    address: str
    content: bytes | None
    headers: dict[str, str]


def odd(payload: Any) -> Iterator[tuple[str, Any]]:
    """Payloads with an odd text, and which: each text in turn, and one more key in each object."""
    for container, key, place in _places(payload, ""):
        before = container[key]
        for text in ODD:
            if isinstance(before, str):
                container[key] = text
                yield f"{place} is {text!a}", payload
            else:
                container[key] = before | {text: "x"}
                yield f"{place} has {text!a}", payload
        container[key] = before


def _places(value: Any, within: str) -> Iterator[tuple[Any, Any, str]]:
    """Where there are texts and objects."""
    items = list(cast("dict[str, Any]", value).items()) if isinstance(value, dict) else list(enumerate(value))
    for key, each in items:
        place = f"{within}.{key}"
        if isinstance(each, str | dict):
            yield value, key, place
        if isinstance(each, dict | list):
            yield from _places(each, place)


def failure(answer: Any) -> bool:
    """Whether an answer is none of the protocol, or says that a service failed."""
    match answer:
        case {"ok": True}:
            return False
        case {"ok": False, "error": {"code": code}}:
            return code not in set(Code) - FAILURES
        case _:
            return True


def requests(endpoint: Endpoint, generator: Generator) -> Iterator[OddRequest]:
    """Requests of an endpoint with something odd in the path, the query, the body or a header."""
    random = Random(1)
    parameters = [one for one in endpoint.parameters if one["in"] in {"path", "query"}]
    fitting = {
        one["name"]: str(generator.value(one.get("schema", {"type": "object", "properties": {}}), random, one["name"]))
        for one in parameters
    }
    payload = None if endpoint.body is None else generator.value(endpoint.body, random)
    content = None if payload is None else json.dumps(payload).encode()

    def address(**changed: str) -> str:
        path, query = endpoint.path, list[str]()
        for one in parameters:
            name = one["name"]
            text = quote((fitting | changed)[name].encode("utf-8", "surrogatepass"), safe="")
            path = path.replace("{" + name + "}", text)
            if one["in"] == "query" and (one.get("required") or name in changed):
                query.append(f"{name}={text}")
        return f"{endpoint.base}{path}?{'&'.join(query)}"

    for name in fitting:
        for text in ODD:
            yield OddRequest(f"{name} is {text!a}", address(**{name: text}), content, {})
    for what, changed in odd([payload] if payload is not None else []):
        yield OddRequest(what, address(), json.dumps(changed[0]).encode(), {})
    if endpoint.method == "GET":
        for name in HEADERS:
            yield OddRequest(f"{name} is no UTF-8", address(), content, {name: "Bearer \xed\xa0\x80"})
