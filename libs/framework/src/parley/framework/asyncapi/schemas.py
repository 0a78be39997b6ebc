"""JSON schemas of the types that controllers are annotated with, all of which refer to one set of components."""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Union, cast, get_args, get_origin

import msgspec

Schema = dict[str, Any]

REF = "#/components/schemas/"
_VALUES = frozenset({"const", "default", "enum", "examples"})
_NAMED = frozenset({"properties", "patternProperties"})


def schemas_of(kinds: Sequence[Any]) -> tuple[list[Schema], dict[str, Schema]]:
    """Return the schema of each type, and the components that they refer to.

    A type that msgspec cannot describe has a schema that admits anything, with a note in its description.
    """
    # All in one call, so that two types that mention the same one refer to one component.
    parts = [_parts(kind) for kind in kinds]
    flat = [part for several in parts for part in several]
    described, components = msgspec.json.schema_components(flat, ref_template=REF + "{name}", schema_hook=_unknown)
    portable = iter([_portable(schema) for schema in described])
    schemas = [_any_of([next(portable) for _ in several]) for several in parts]
    return schemas, {name: _portable(schema) for name, schema in components.items()}


def resolve(schema: Schema, components: dict[str, Schema]) -> Schema:
    """Return the schema that a reference stands for; any other schema as it is."""
    while (reference := schema.get("$ref")) is not None:
        schema = components[reference.removeprefix(REF)]
    return schema


def within(schema: Schema, key: str) -> Schema | None:
    """Return the schema under a key; None when there is none, or only true or false."""
    return cast("Schema", schema[key]) if isinstance(schema.get(key), dict) else None


def referred(part: Any, components: dict[str, Schema]) -> dict[str, Schema]:
    """Return the components that a structure refers to, directly or through others."""
    found: set[str] = set()
    ahead: list[Any] = [part]
    while ahead:
        names = {value.removeprefix(REF) for key, value in _texts(ahead.pop()) if key == "$ref"}
        fresh = (names & components.keys()) - found
        found |= fresh
        ahead.extend(components[name] for name in fresh)
    return {name: schema for name, schema in components.items() if name in found}


def holds_bytes(schema: Schema, components: dict[str, Schema]) -> bool:
    """Whether a schema, or one that it refers to, admits binary data."""
    parts = [schema, *referred(schema, components).values()]
    return any(text == ("contentEncoding", "base64") for part in parts for text in _texts(part))


def _texts(part: Any) -> Iterator[tuple[str, str]]:
    """Return all texts in a structure, each with its key."""
    if isinstance(part, dict):
        for key, value in cast("Schema", part).items():
            if isinstance(value, str):
                yield key, value
            else:
                yield from _texts(value)
    elif isinstance(part, list):
        for each in cast("list[Any]", part):
            yield from _texts(each)


def _parts(kind: Any) -> list[Any]:
    """Split a type into types that msgspec can describe: it refuses a union of two structs without tags."""
    if _describable(kind):
        return [kind]
    if get_origin(kind) in {Union, types.UnionType}:
        return [part for member in get_args(kind) for part in _parts(member)]
    return [Annotated[Any, msgspec.Meta(description=_note(kind))]]


def _describable(kind: Any) -> bool:
    try:
        msgspec.json.schema_components([kind], schema_hook=_unknown)
    except Exception:  # noqa: BLE001 - looking at a foreign annotation may raise whatever it likes
        return False
    return True


def _unknown(kind: type[Any]) -> Schema:
    return {} if kind is object else {"description": _note(kind)}


def _note(kind: Any) -> str:
    # Not its repr, which may hold an address: two runs would then make different documents.
    return f"No schema can be made of the type {getattr(kind, '__qualname__', None) or type(kind).__qualname__}."


def _any_of(schemas: list[Schema]) -> Schema:
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}


def _portable(schema: Any) -> Any:
    """Return a schema that means the same in draft 07, which AsyncAPI builds on, and in 2020-12.

    Draft 07 does not know `prefixItems`, so `items: false` beside it would forbid all items; `maxItems` says the same.
    A discriminator is a text in AsyncAPI and an object in OpenAPI; each alternative has its tag anyway.
    """
    if isinstance(schema, list):
        return [_portable(part) for part in cast("list[Any]", schema)]
    if not isinstance(schema, dict):
        return schema
    portable: Schema = {}
    for key, value in cast("Schema", schema).items():
        if key == "discriminator" or (key == "items" and value is False):
            continue
        if key in _NAMED:
            portable[key] = {name: _portable(part) for name, part in cast("Schema", value).items()}
        elif key == "description" and isinstance(value, str):
            # Python 3.13 takes the indentation out of docstrings, the versions before leave it in.
            portable[key] = inspect.cleandoc(value)
        else:
            portable[key] = value if key in _VALUES else _portable(value)
    return portable
