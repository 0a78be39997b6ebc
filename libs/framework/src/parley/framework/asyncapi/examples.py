"""Example values made from JSON schemas, for the messages of a document and the pages made of it."""

from __future__ import annotations

from typing import Any

from parley.framework.asyncapi.schemas import Schema, resolve, within

_FORMATS = {
    "date": "2030-01-31",
    "date-time": "2030-01-31T12:00:00Z",
    "duration": "PT1H",
    "email": "ann@example.org",
    "time": "12:00:00",
    "uuid": "01a20c65-3a8e-72c3-beb0-91fc0e8b9750",
}
_DEPTH = 12
"""References followed inside each other at most: types may contain themselves."""


class Examples:
    """Makes examples. With `lean` they leave out optional fields, as clients do when they write an event."""

    def __init__(self, components: dict[str, Schema], *, lean: bool) -> None:
        self._components = components
        self._lean = lean

    def of(self, schema: Schema, name: str = "text", seen: tuple[str, ...] = ()) -> Any:
        """Return a value that the schema admits. A text without a format or an example is the name of its field."""
        if (reference := schema.get("$ref")) is not None:
            seen = (*seen, reference)
            schema = resolve(schema, self._components)
        if schema.get("examples"):
            return schema["examples"][0]
        if schema.get("default") is not None and schema["default"] not in ({}, []):
            return schema["default"]
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return schema["enum"][0]
        for union in ("allOf", "anyOf", "oneOf"):
            if union in schema:
                return self.of(self._chosen(schema[union], seen), name, seen)
        return self._typed(schema, name, seen)

    def _chosen(self, members: list[Schema], seen: tuple[str, ...]) -> Schema:
        """Return the first alternative of a union that is not null and does not lead back to a type around it."""
        some = [member for member in members if member.get("type") != "null"]
        # The last one may be null, which ends a type that contains itself.
        return next((member for member in some if member.get("$ref") not in seen), members[-1])

    def _typed(self, schema: Schema, name: str, seen: tuple[str, ...]) -> Any:
        match schema.get("type"):
            case "object":
                return self._object(schema, seen)
            case "array":
                return self._array(schema, name, seen)
            case "string":
                return _text(schema, name)
            case "integer" | "number":
                return _number(schema)
            case "boolean":
                return True
            case "null":
                return None
            case _:
                return {}

    def _object(self, schema: Schema, seen: tuple[str, ...]) -> dict[str, Any]:
        made: dict[str, Any] = {}
        required = schema.get("required", [])
        for name, part in schema.get("properties", {}).items():
            # A field whose type is one of those around it can only be left out.
            if name not in required and (self._lean_without(part) or self._circular(part, seen)):
                continue
            made[name] = self.of(part, name, seen)
        values = within(schema, "additionalProperties")
        if not made and values and not self._circular(values, seen):
            key = self.of({"type": "string"} | schema.get("propertyNames", {}), "key")
            made[key] = self.of(values, "value", seen)
        return made

    def _array(self, schema: Schema, name: str, seen: tuple[str, ...]) -> list[Any]:
        if "prefixItems" in schema:
            return [self.of(part, part.get("title", name), seen) for part in schema["prefixItems"]]
        items = within(schema, "items")
        if items is None or self._circular(items, seen):
            return []
        return [self.of(items, name, seen) for _ in range(max(1, schema.get("minItems", 0)))]

    def _lean_without(self, schema: Schema) -> bool:
        return self._lean and ("default" not in schema or schema["default"] in (None, {}, []))

    @staticmethod
    def _circular(schema: Schema, seen: tuple[str, ...]) -> bool:
        return schema.get("$ref") in seen or len(seen) > _DEPTH


def _text(schema: Schema, name: str) -> str:
    if (known := _FORMATS.get(schema.get("format", ""))) is not None:
        return known
    if "contentEncoding" in schema:
        return "cGFybGV5"
    text = name.ljust(schema.get("minLength", 0), "x")
    return text[: schema.get("maxLength", len(text))]


def _number(schema: Schema) -> float:
    step = schema.get("multipleOf", 1)
    number = schema.get("minimum", schema.get("exclusiveMinimum", 0) + step if "exclusiveMinimum" in schema else step)
    number = min(number, schema.get("maximum", number))
    if "exclusiveMaximum" in schema and number >= schema["exclusiveMaximum"]:
        number = schema["exclusiveMaximum"] - step
    # Rounded up to a multiple of the step.
    return -(-number // step) * step if step else number
