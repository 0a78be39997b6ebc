"""A JSON schema as rows of a table: each field with its path, its type and its limits."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from parley.framework.asyncapi.schemas import REF, Schema, resolve, within

_UNIONS = ("anyOf", "oneOf", "allOf")
_SHOWN_VALUES = 8
"""Values of an enum that a cell shows at most; a longer enum is shown by its name."""
_LIMITS = {
    "minimum": "≥ {}",
    "exclusiveMinimum": "> {}",
    "maximum": "≤ {}",
    "exclusiveMaximum": "< {}",
    "multipleOf": "a multiple of {}",
    "pattern": "matches `{}`",
}
_LENGTHS = {
    "characters": ("minLength", "maxLength"),
    "items": ("minItems", "maxItems"),
    "entries": ("minProperties", "maxProperties"),
}


@dataclass(frozen=True, slots=True)
class SchemaRow:
    """One row: a field of a payload, at any depth."""

    path: str
    """The way to the field, as in `user.name`, `events[].type` and `rooms.*.head`."""
    type: str
    required: bool
    default: str | None
    """The default value as JSON, or None."""
    limits: str
    description: str
    only_in: str = ""
    """The name of the only alternative of a union that has this field; empty when all have it."""


class SchemaReader:
    """Reads schemas that refer to one set of components."""

    def __init__(self, components: dict[str, Schema], *, binary: bool = False) -> None:
        self._components = components
        self._binary = "binary" if binary else "string (base64)"

    def arguments(self, payload: Schema) -> Iterator[SchemaRow]:
        """Return the rows of a payload: an object's fields, or the arguments of an array of them, with their fields."""
        members = [self._resolved(member) for member in self._members(payload)]
        if "prefixItems" in payload:
            for number, part in enumerate(payload["prefixItems"]):
                required = number < payload.get("minItems", 0)
                yield from self._field(part.get("title", f"argument {number + 1}"), part, (), required=required)
        # Only if every alternative is an object can the fields be shown without the payload's own row.
        elif members and all("properties" in member for member in members):
            yield from _merged(self._inside("", payload, ()))
        else:
            yield from self._field(payload.get("title", "data"), payload, (), required="default" not in payload)

    def type_of(self, schema: Schema) -> str:
        """Return a type in words."""
        resolved = self._resolved(schema)
        if "const" in resolved:
            return _json(resolved["const"])
        if "enum" in resolved:
            values = resolved["enum"]
            named = len(values) > _SHOWN_VALUES and "title" in resolved
            return resolved["title"] if named else " | ".join(map(_json, values))
        for union in _UNIONS:
            if union in resolved:
                return " or ".join(dict.fromkeys(self.type_of(member) for member in resolved[union]))
        match resolved.get("type"):
            case "array" if "prefixItems" in resolved:
                return f"[{', '.join(self.type_of(part) for part in resolved['prefixItems'])}]"
            case "array":
                return f"array of {self.type_of(resolved.get('items', {}))}"
            case "object" if "properties" in resolved:
                return resolved.get("title", "object")
            case "object" if (values := within(resolved, "additionalProperties")) is not None:
                return f"map of {self.type_of(values)}"
            case "string" if resolved.get("contentEncoding") == "base64":
                return self._binary
            case "string" if "format" in resolved:
                return f"string ({resolved['format']})"
            case kind:
                return kind or "any"

    def _field(
        self, path: str, schema: Schema, seen: tuple[str, ...], *, required: bool, only: str = ""
    ) -> Iterator[SchemaRow]:
        default = _json(schema["default"]) if "default" in schema else None
        description = schema.get("description") or self._type_description(schema)
        yield SchemaRow(path, self.type_of(schema), required, default, self._limits(schema), description, only)
        yield from self._inside(path, schema, seen)

    def _inside(self, path: str, schema: Schema, seen: tuple[str, ...]) -> Iterator[SchemaRow]:
        """Return the rows of the fields inside of a schema. `seen` are the types around it, not to be entered again."""
        members = self._members(schema)
        several = sum("properties" in self._resolved(member) for member in members) > 1
        for member in members:
            reference = member.get("$ref", "")
            if reference and reference in seen:
                continue
            inner = (*seen, reference) if reference else seen
            resolved = self._resolved(member)
            only = resolved.get("title", "") if several else ""
            for name, part in resolved.get("properties", {}).items():
                required = name in resolved.get("required", [])
                yield from self._field(f"{path}.{name}" if path else name, part, inner, required=required, only=only)
            if (items := within(resolved, "items")) is not None:
                yield from self._inside(f"{path}[]", items, inner)
            for number, part in enumerate(resolved.get("prefixItems", [])):
                yield from self._inside(f"{path}[{number}]", part, inner)
            if (values := within(resolved, "additionalProperties")) is not None:
                yield from self._inside(f"{path}.*", values, inner)

    def _members(self, schema: Schema) -> list[Schema]:
        """Return the alternatives of a union without null, or the schema itself if it is none."""
        resolved = self._resolved(schema)
        for union in _UNIONS:
            if union in resolved:
                return [each for member in resolved[union] for each in self._members(member)]
        return [] if resolved.get("type") == "null" else [schema]

    def _type_description(self, schema: Schema) -> str:
        """Return the description of a schema's only type; empty for an object, whose fields are described instead."""
        members = self._members(schema)
        if len(members) != 1:
            return ""
        resolved = self._resolved(members[0])
        return "" if "properties" in resolved else resolved.get("description", "")

    def _limits(self, schema: Schema) -> str:
        """Return in words which values are allowed; empty for a union."""
        members = self._members(schema)
        resolved = self._resolved(members[0]) if len(members) == 1 else {}
        limits = [text.format(resolved[key]) for key, text in _LIMITS.items() if key in resolved]
        for unit, (least, most) in _LENGTHS.items():
            low, high = resolved.get(least, 0), resolved.get(most)
            if "prefixItems" in resolved or (not low and high is None):
                continue
            limits.append(
                f"at least {low} {unit}"
                if high is None
                else f"{low} to {high} {unit}"
                if low
                else f"at most {high} {unit}"
            )
        if resolved.get("uniqueItems"):
            limits.append("no item twice")
        return ", ".join(limits)

    def _resolved(self, schema: Schema) -> Schema:
        # Any other reference leads out of the document, and nothing is known of it.
        return resolve(schema, self._components) if schema.get("$ref", REF).startswith(REF) else {}


def _merged(rows: Iterable[SchemaRow]) -> Iterable[SchemaRow]:
    """Return the rows with those that several alternatives have alike made one."""
    merged: dict[tuple[str, str], SchemaRow] = {}
    for row in rows:
        # By type as well: alternatives may have a field of one name and different types.
        key = (row.path, row.type)
        merged[key] = replace(merged[key], only_in="") if key in merged else row
    return merged.values()


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
