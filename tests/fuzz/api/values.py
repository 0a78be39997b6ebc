"""Payloads that fit a schema, and payloads that almost do."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, cast

Schema = dict[str, Any]


class Literal(str):
    """JSON that is sent as it stands, because no encoder would write it."""

    __slots__ = ()


class Doubled(dict[str, Any]):
    """An object with one of its keys twice."""


DEEP = {depth: Literal("[" * depth + "]" * depth) for depth in (40, 99, 100, 3000)}
BAITS: list[Any] = [
    None, True, False, 0, 1, -1, 1.0, 1.5, -0.0, 2**31, 2**53 - 1, 2**53, 2**63 - 1, 2**63, 2**64, 10**30, 1e308,
    Literal("1e400"), Literal("-1e400"), Literal("1e2"), Literal("1e-400"), Literal("NaN"), Literal("Infinity"),
    Literal("1" + "0" * 5000), Literal("0." + "1" * 5000), Literal("01"), Literal("undefined"),
    "", " ", "\x00", "a\x00b", "\ud83d", "\udc00\ud83d", "a\ud800", "😀", "é" * 130, "x" * 300, "x" * 70_000,
    "\ufeffa", "\ufffe", "\u202ea", "\u200b", "a\n", "\r\n", "e" + "\u0301" * 90, "\U0010ffff", "ﷺ" * 120, "İ",
    "..", "../../etc/passwd", "a/b\\c", "%00", "%", "_", "'", "\\", "$1", "{}", "1", "true", "null", "*", ">", "user:x",
    "1970-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59.999999-14:00", "2026-02-30T00:00:00Z",
    "2026-01-01T00:00:00", "infinity", "00000000-0000-0000-0000-000000000000", "{" + "a" * 36 + "}",
    "http://169.254.169.254/latest/meta-data/", "https://[::ffff:127.0.0.1]:6379/", "https://localhost/",
    [], {}, [[]], [None], [{}], {"": ""}, {"__proto__": {"x": 1}}, {"id": {"id": {}}}, ["a"] * 3000, [1] * 1001,
    {f"k{n}": n for n in range(1001)}, {"_placeholder": True, "num": 0}, {"$ref": "#"}, *DEEP.values(),
]  # fmt: skip


def text_of(value: Any, random: Random) -> str:
    """Return the JSON of a value. Text is escaped, or not, by the throw of a coin."""
    if isinstance(value, Literal):
        return value
    if isinstance(value, dict):
        pairs = [f"{text_of(key, random)}:{text_of(each, random)}" for key, each in cast("Schema", value).items()]
        if isinstance(value, Doubled) and pairs:
            pairs.append(pairs[random.randrange(len(pairs))])
        return "{" + ",".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ",".join(text_of(each, random) for each in cast("list[Any]", value)) + "]"
    if isinstance(value, str):
        plain = json.dumps(value, ensure_ascii=False)
        # Half a surrogate pair has no UTF-8, so it can be sent as an escape alone.
        return plain if random.random() < 0.5 and value.isprintable() else json.dumps(value)
    return json.dumps(value)


class Generator:
    """Makes values for schemas. What was seen in answers is used again where a field has its name.

    With `whole`, objects have all of their fields.
    """

    def __init__(self, definitions: Schema, pool: Callable[[str, Random], Any], *, whole: bool = False) -> None:
        self._definitions = definitions
        self._pool = pool
        self._whole = whole

    def value(self, schema: Schema, random: Random, name: str = "") -> Any:
        """Return a value that fits, as far as a schema can say so."""
        if (reference := schema.get("$ref")) is not None:
            return self.value(self._definitions[reference.rsplit("/", 1)[1]], random, name)
        if (choices := schema.get("anyOf")) is not None:
            return self.value(random.choice(choices), random, name)
        if "const" in schema or "enum" in schema:
            return schema["const"] if "const" in schema else random.choice(schema["enum"])
        match schema.get("type"):
            case "object" if "properties" in schema:
                return self._object(schema, random)
            case "object":
                return self._map(schema, random, name)
            case "array":
                return self._array(schema, random, name)
            case "integer" | "number":
                return self._number(schema, random, name)
            case "boolean":
                return random.random() < 0.5
            case "null":
                return None
            case "string":
                return self._string(schema, random, name)
            case _:
                return deepcopy(random.choice(BAITS))

    def _object(self, schema: Schema, random: Random) -> Schema:
        required = set(schema.get("required", []))
        return {
            key: self.value(part, random, key)
            for key, part in schema["properties"].items()
            if self._whole or key in required or random.random() < 0.35
        }

    def _map(self, schema: Schema, random: Random, name: str) -> Schema:
        values = schema.get("additionalProperties")
        part: Schema = cast("Schema", values) if isinstance(values, dict) else {"type": "string"}
        keys = [str(self._pool("room" if name == "cursors" else "name", random) or "k") for _ in range(3)]
        return {key: self.value(part, random, "sequence") for key in keys[: random.randrange(4)]}

    def _array(self, schema: Schema, random: Random, name: str) -> list[Any]:
        least, most = schema.get("minItems", 0), min(schema.get("maxItems", 4), 4)
        one = name.removesuffix("s")
        return [self.value(schema["items"], random, one) for _ in range(random.randint(least, max(least, most)))]

    def _number(self, schema: Schema, random: Random, name: str) -> Any:
        known = self._pool(name, random)
        if isinstance(known, int) and random.random() < 0.8:
            return known
        # The documents have some of them as `1.0`.
        least = int(schema.get("minimum", 0))
        most = min(int(schema.get("maximum", schema.get("exclusiveMaximum", 101) - 1)), least + 100)
        return random.choice([least, most, random.randint(least, max(least, most))])

    def _string(self, schema: Schema, random: Random, name: str) -> str:
        match schema.get("format"):
            case "date-time":
                return (datetime.now(UTC) + timedelta(seconds=random.choice([-60, 1, 5, 3600, 10**6]))).isoformat()
            case "uuid":
                known = self._pool(name, random)
                return known if isinstance(known, str) else str(uuid.UUID(int=random.getrandbits(128)))
            case _:
                pass
        if name == "id" and random.random() < 0.85:
            return f"c{random.getrandbits(64):x}"
        known = self._pool(name, random)
        if isinstance(known, str):
            return known
        size = min(schema.get("maxLength", 20), 20)
        return "".join(random.choices("abcdefgh-12", k=max(schema.get("minLength", 1), random.randint(1, size))))


def bent(value: Any, random: Random) -> Any:
    """Return a payload with up to three of its parts made wrong."""
    value = deepcopy(value)
    for _ in range(random.choice([1, 1, 1, 2, 3])):
        places = list(_places(value))
        if not places or random.random() < 0.03:
            return deepcopy(random.choice(BAITS))
        container, key = random.choice(places)
        match random.randrange(8):
            case 0 if isinstance(container, dict):
                del container[key]
            case 1:
                container[key] = [container[key]] * random.choice([1, 2, 50, 1100])
            case 2:
                container[key] = {"x": container[key]}
            case 3 if isinstance(container, dict):
                container[random.choice(["x", "", "__proto__", "ok", "\ud800", "y" * 300])] = random.choice(BAITS)
            case 4 if isinstance(container[key], str):
                bait = random.choice([bait for bait in BAITS if type(bait) is str])
                container[key] += bait
            case 5 if container is value and isinstance(value, dict):
                value = Doubled(value)
            case _:
                container[key] = deepcopy(random.choice(BAITS))
    return value


def _places(value: Any) -> Any:
    if isinstance(value, dict):
        for key, each in list(cast("Schema", value).items()):
            yield value, key
            yield from _places(each)
    elif isinstance(value, list):
        for at, each in enumerate(cast("list[Any]", value)[:5]):
            yield value, at
            yield from _places(each)
