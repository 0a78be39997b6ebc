"""What a request over HTTP says of a payload's fields, in its path and its query, and how OpenAPI describes that.

All tables of routes share it. A field is a number in a path or a query if the payload has it as one; what is none is
refused with the field's type when the payload is made. An object is JSON there.
"""

from __future__ import annotations

import re
from typing import Any

from fastapi import Request
from starlette.convertors import Convertor, register_url_convertor

from parley.common.http.bodies import described
from parley.common.http.json_input import read_object
from parley.framework import Code, Reject

_FROM_PATH = re.compile(r"{(\w+)}")
_DIGITS = "[0-9]{1,16}"
"""How numbers are written: 2**53 has as many digits."""
_NUMBER = re.compile(_DIGITS)


class _PathNumber(Convertor[int]):
    """`{name:PATH_NUMBER}` in the path of a route; another path than one with a number there is not found.

    Starlette's own `int` takes any number of digits, of which Python then refuses to read more than 4,300.
    """

    regex = _DIGITS

    def convert(self, value: str) -> int:
        return int(value)

    def to_string(self, value: int) -> str:
        return str(value)


PATH_NUMBER = "number"
register_url_convertor(PATH_NUMBER, _PathNumber())


class PayloadFields:
    """The fields of one route's payload: which come from its path, and which are numbers."""

    def __init__(self, payload: type[Any], method: str, path: str) -> None:
        self._payload = payload
        self._reads = method == "GET"
        self._path = path
        self._from_path = sorted(_FROM_PATH.findall(path))
        self._schemas: dict[str, Any] = described(payload)["requestBody"]["content"]["application/json"]["schema"][
            "properties"
        ]
        self._numbers = {name for name, schema in self._schemas.items() if "integer" in str(schema)}
        self._objects = {name for name, schema in self._schemas.items() if "'object'" in str(schema)}

    def __contains__(self, name: str) -> bool:
        return name in self._schemas

    @property
    def typed_path(self) -> str:
        """The path in which what the payload has as a number is one, so that with anything else it is not found."""
        return _FROM_PATH.sub(
            lambda found: f"{{{found[1]}:{PATH_NUMBER}}}" if found[1] in self._numbers else found[0], self._path
        )

    def of_path(self, request: Request) -> dict[str, Any]:
        """Return the fields that the path says."""
        return {name: self._value(name, request.path_params[name]) for name in self._from_path}

    def of_query(self, request: Request) -> dict[str, Any]:
        """Return the fields that the query says. Raises `Reject`."""
        fields: dict[str, Any] = {}
        for name, value in request.query_params.items():
            if "\x00" in value:
                raise Reject(Code.INVALID_PAYLOAD, "NUL is not text")
            fields[name] = _object(name, value) if name in self._objects else self._value(name, value)
        return fields

    def openapi(self, *, optional: str = "") -> dict[str, Any]:
        """Return what OpenAPI says of the request; its body may leave out the field that is `optional`."""
        extra = {} if self._reads else described(self._payload, without=frozenset(self._from_path), optional=optional)
        extra["parameters"] = [
            {
                "name": name,
                "in": "path",
                "required": True,
                "schema": {"type": "integer" if name in self._numbers else "string"},
            }
            for name in self._from_path
        ]
        if self._reads:
            extra["parameters"] += [
                {"name": name, "in": "query", "required": False, **self._described(name, schema)}
                for name, schema in self._schemas.items()
                if name not in self._from_path
            ]
        return extra

    def _described(self, name: str, schema: Any) -> dict[str, Any]:
        return {"content": {"application/json": {"schema": schema}}} if name in self._objects else {"schema": schema}

    def _value(self, name: str, text: str | int) -> str | int:
        # Text that is no number stays one, and is refused where the payload's types are checked, in their words.
        # What a typed path says is a number already.
        return int(text) if name in self._numbers and _NUMBER.fullmatch(str(text)) else text


def _object(name: str, text: str) -> dict[str, Any]:
    try:
        return read_object(text.encode("utf-8", "surrogatepass"))
    except Reject as refusal:
        raise Reject(Code.INVALID_PAYLOAD, f"{name} is no JSON object.") from refusal
