r"""What clients and settings say has bounds: texts end where they should, and numbers fit where they are stored.

Python's `$` lets a line end through, and `(?!\n)` does not.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any, cast

import msgspec

from parley.chat.api.socket import router
from tests.support.paths import ROOT

LINE_ENDS_ARE_TEXT = r"[^\x00]*$"


def patterns() -> Iterator[tuple[str, str]]:
    """Every pattern that msgspec compares texts with, and where it stands."""
    for part in ("libs", "services", "cli"):
        for path in sorted((ROOT / part).glob("**/src/**/*.py")):
            tree = ast.parse(path.read_text())
            constants = {
                target.id: node.value.value
                for node in tree.body
                if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
                for target in node.targets
                if isinstance(target, ast.Name)
            }
            for node in ast.walk(tree):
                if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Meta"):
                    for keyword in node.keywords:
                        if keyword.arg == "pattern":
                            value = ast.unparse(keyword.value)
                            pattern = constants.get(value, value)
                            yield f"{path.relative_to(ROOT)}:{node.lineno}", str(pattern)


def test_no_pattern_lets_a_line_end_through_behind_what_it_asks_for():
    found = dict(patterns())
    assert len(found) > 10
    ends = {place: pattern.strip("'\"") for place, pattern in found.items()}
    loose = [
        place
        for place, pattern in ends.items()
        if pattern.endswith("$")
        and not re.search(r"\(\?!\\+n\)\$$", pattern)
        and LINE_ENDS_ARE_TEXT not in pattern.replace("\\\\", "\\")
    ]
    assert loose == []


def unbounded(schema: Any, where: str, definitions: dict[str, Any]) -> Iterator[str]:
    """The integers in a schema that have no maximum."""
    if isinstance(schema, list):
        for part in cast("list[Any]", schema):
            yield from unbounded(part, where, definitions)
    elif isinstance(schema, dict):
        known = cast("dict[str, Any]", schema)
        if (reference := known.get("$ref")) is not None:
            yield from unbounded(definitions[reference.rsplit("/", 1)[1]], where, definitions)
        if known.get("type") == "integer" and not {"maximum", "exclusiveMaximum"} & known.keys():
            yield where
        for name, part in known.items():
            yield from unbounded(part, f"{where}.{name}" if isinstance(part, dict) else where, definitions)


def test_every_whole_number_that_clients_send_has_a_largest_value():
    payloads = [route.decoder.type for route in router.routes.values()]
    (*schemas,), definitions = msgspec.json.schema_components(payloads, ref_template="#/{name}")
    assert len(schemas) > 50
    assert [place for schema in schemas for place in unbounded(schema, "", definitions)] == []
