"""The table of metrics in docs/operations.md has the metrics of the code, with their labels."""

from __future__ import annotations

import ast
import re

from tests.support.paths import ROOT

KINDS = {"Counter": "counter", "Tally": "counter", "Gauge": "gauge", "Histogram": "histogram"}
SOURCES = {
    path: path.read_text("utf-8")
    for folder in ("libs", "services", "cli")
    for path in sorted((ROOT / folder).glob("**/src/**/*.py"))
}
ROWS = re.findall(r"^\| `(parley_\w+)` \| ([^|]*) \|", (ROOT / "docs/operations.md").read_text("utf-8"), re.MULTILINE)


def declared() -> dict[str, tuple[str, list[str]]]:
    """Each metric of the code with its kind and its labels."""
    found: dict[str, tuple[str, list[str]]] = {}
    for text in SOURCES.values():
        for node in ast.walk(ast.parse(text)):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in KINDS):
                continue
            if not (node.args and isinstance(node.args[0], ast.Constant)):
                continue
            kind, name = KINDS[node.func.id], str(node.args[0].value)
            name = f"{name}_total" if kind == "counter" and not name.endswith("_total") else name
            found[name] = kind, ast.literal_eval(node.args[2]) if len(node.args) > 2 else []
    return found


def documented(said: str) -> tuple[str, list[str]]:
    """The kind and the labels that a row of the table says. Values of labels are in parentheses."""
    kind, _, labels = re.sub(r"\([^)]*\)", "", said).partition(";")[0].partition(",")
    return kind.strip(), re.findall(r"`(\w+)`", labels)


def values(metric: str) -> set[str]:
    """The values of a metric's label that its row lists."""
    (said,) = (said for name, said in ROWS if name == metric)
    return set(re.findall(r"`(\w+)`", said.partition("(")[2]))


def test_every_metric_is_documented_with_its_labels_and_nothing_else_is():
    assert {name: documented(said) for name, said in ROWS} == declared()
    assert len(ROWS) == len(declared())


def test_every_limit_that_the_gateway_counts_and_every_refusal_is_documented():
    gateway = "\n".join(text for path, text in SOURCES.items() if "python_socketio" not in path.parts)
    limits = set(re.findall(r"(?:LIMIT_HITS\.labels|\.limited)\(\"(\w+)\"\)", gateway))
    assert values("parley_gateway_limited_total") == limits
    assert len(limits) > 5
    refusals = set(re.findall(r"self\._refused\(\"(\w+)\"", gateway))
    assert values("parley_gateway_sessions_refused_total") == refusals
    assert "banned" in refusals
