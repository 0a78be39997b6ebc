"""AsyncAPI documents say what controllers take and answer, and their pages show whatever docstrings hold as text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib import metadata
from typing import Annotated, Any

import httpx
import msgspec
import pytest
from fastapi import FastAPI

from parley.chat.service import service as chat
from parley.framework import Context, Router, Service, on
from parley.framework.asyncapi import document, render_html, render_markdown
from parley.framework.asyncapi.routes import asyncapi_router
from parley.framework.asyncapi.schemas import schemas_of
from parley.framework.routing.router import LIFECYCLE
from tests.support.paths import ROOT

REFERENCE = ROOT / "docs" / "reference"
HOSTILE = "<script>alert(1)</script> <img src=x onerror=alert(2)> [click](javascript:alert(3)) | `a|<b>`"
REGENERATE = (
    "make it anew: parley asyncapi parley.chat --format markdown --output docs/reference/chat.md && "
    "parley asyncapi parley.chat --format json --output docs/reference/chat.asyncapi.json"
)


class Circle(msgspec.Struct, tag="circle"):
    """Round.

    In every direction.
    """

    radius: Annotated[float, msgspec.Meta(gt=0, description="How far it reaches")]


class Square(msgspec.Struct, tag="square"):
    side: float
    corner: tuple[int, str] = (1, "a")


class Node(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    children: list[Node] = []


class Plain(msgspec.Struct):
    x: int


class Blob(msgspec.Struct):
    data: bytes


class Undescribed:
    """No type that msgspec knows."""


router: Router[None] = Router("/things")


@router.on("move")
async def move(
    _context: Context[None], x: int, y: Annotated[int, msgspec.Meta(le=9)], to: Circle | None = None
) -> Node:
    """Move it.

    As far as it goes.
    """
    raise NotImplementedError


@router.on("each")
async def each(_context: Context[None], *numbers: int) -> dict[str, int]:
    return {"sum": sum(numbers)}


async def draw(_context: Context[None], _shape: Any) -> Circle | Plain | None: ...


router.route("draw", draw, payload=Circle | Square)
router.route("draw/again ~1", draw, payload=Circle)


@router.on("wait", timeout=30, pipelined=True)
async def wait(_context: Context[None], seconds: Annotated[int, msgspec.Meta(ge=2)] = 6) -> None: ...


@router.on("odd")
async def odd(_context: Context[None], _value: Undescribed) -> Undescribed: ...


@router.on("upload", binary=True)
async def upload(_context: Context[None], name: str, blob: Blob) -> None: ...


@router.on("download")
async def download(_context: Context[None], name: str) -> Blob: ...


@router.on("disconnect")
async def disconnect(_context: Context[None], _reason: str, _rooms: list[str]) -> None: ...


class Controllers:
    def __init__(self, _context: Context[None]) -> None: ...

    @on("nothing")
    async def nothing(self) -> None:
        """Do nothing."""


router.controllers(Controllers)
router.sends("move", Node)
router.sends("blob", Blob)
router.sends("bare")
router.sends("either", int | Undescribed)

things = Service("things", router, Router("/"))


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    return document(things, version="1.2")


def references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        for key, value in part.items():
            if key == "$ref":
                yield value
            else:
                yield from references(value)
    elif isinstance(part, list):
        for one in part:
            yield from references(one)


def followed(document: dict[str, Any], reference: str) -> Any:
    part: Any = document
    for key in reference.removeprefix("#/").split("/"):
        part = part[key]
    return part


def message(document: dict[str, Any], event: str, namespace: str = "things") -> dict[str, Any]:
    return document["channels"][namespace]["messages"][event]


@pytest.mark.parametrize("service", [things, chat], ids=["things", "chat"])
def test_it_has_what_asyncapi_demands_and_every_reference_leads_somewhere(service: Service[Any]) -> None:
    made = json.loads(json.dumps(document(service, version="1.2")))

    assert made["asyncapi"] == "3.0.0"
    assert made["info"]["version"] == "1.2"
    assert {"host", "protocol"} <= made["servers"]["gateway"].keys()
    assert all(followed(made, reference) is not None for reference in references(made))
    for kind in ("schemas", "securitySchemes"):
        assert all(re.fullmatch(r"[\w.-]+", name) for name in made["components"][kind])
    for operation in made["operations"].values():
        channel = operation["channel"]["$ref"]
        both = [*operation["messages"], *operation.get("reply", {}).get("messages", [])]
        assert operation["action"] in {"send", "receive"}
        assert all(one["$ref"].startswith(f"{channel}/messages/") for one in both)
        assert (len(both) == 3) is (operation["action"] == "receive")


def test_channels_are_namespaces_and_operations_events_without_those_of_a_connections_life(
    made: dict[str, Any],
) -> None:
    assert [channel["address"] for channel in made["channels"].values()] == ["/things", "/"]
    events = {
        action: [
            followed(made, operation["messages"][0]["$ref"])["name"]
            for operation in made["operations"].values()
            if operation["action"] == action and operation["channel"]["$ref"] == "#/channels/things"
        ]
        for action in ("receive", "send")
    }
    assert events == {
        "receive": ["move", "each", "draw", "draw/again ~1", "wait", "odd", "upload", "download", "nothing"],
        "send": ["move", "blob", "bare", "either", "error", "kicked"],
    }
    assert not set(events["receive"]) & LIFECYCLE
    assert [made["operations"]["things.wait"][key] for key in ("x-timeout", "x-pipelined")] == [30, True]


def test_several_arguments_are_an_array_and_a_single_one_is_itself(made: dict[str, Any]) -> None:
    x, y, to = message(made, "move")["payload"]["prefixItems"]
    assert x == {"type": "integer", "title": "x"}
    assert y["maximum"] == 9
    assert (to["title"], to["default"]) == ("to", None)
    assert [message(made, "move")["payload"][key] for key in ("minItems", "maxItems")] == [2, 3]
    assert message(made, "wait")["payload"] == {"type": "integer", "minimum": 2, "title": "seconds", "default": 6}
    assert message(made, "each")["payload"]["items"]["type"] == "integer"
    assert message(made, "draw_again_1")["payload"] == {"$ref": "#/components/schemas/Circle"}
    assert "payload" not in message(made, "nothing")


def test_acks_are_what_controllers_return_beside_ok(made: dict[str, Any]) -> None:
    # Its own fields are all that the struct allows, so `ok` has to be one of them.
    node = followed(made, message(made, "move.ack")["payload"]["$ref"])
    assert node["properties"]["ok"] == {"const": True}
    assert node["required"] == ["ok", "name"]
    assert node["additionalProperties"] is False
    assert message(made, "each.ack")["payload"]["additionalProperties"] == {"type": "integer"}
    assert [list(one) for one in message(made, "draw.ack")["payload"]["anyOf"]] == [
        ["$ref"],
        ["$ref"],
        ["type", "properties", "required"],
    ]
    refused = message(made, "refused")
    assert refused["payload"]["properties"]["ok"] == {"const": False}
    assert refused["examples"][0]["payload"]["error"].keys() == {"code", "message", "retryable"}


def test_schemas_are_read_alike_by_draft_07_and_2020_12(made: dict[str, Any]) -> None:
    corner = made["components"]["schemas"]["Square"]["properties"]["corner"]
    assert corner["default"] == [1, "a"]
    assert "items" not in corner
    assert "discriminator" not in json.dumps(made)


def test_types_without_a_schema_are_noted_and_break_nothing(made: dict[str, Any]) -> None:
    noted = {"description": "No schema can be made of the type Undescribed."}
    assert message(made, "odd")["payload"].items() >= noted.items()
    assert message(made, "either")["payload"] == {"anyOf": [{"type": "integer"}, noted]}
    assert message(made, "odd.ack")["payload"]["required"] == ["ok"]


def test_binary_data_is_told_of_where_it_travels_as_attachments(made: dict[str, Any]) -> None:
    assert [message(made, event).get("x-binary") for event in ("upload", "blob", "move-2")] == [True, True, None]
    assert made["components"]["schemas"]["Blob"]["properties"]["data"]["contentEncoding"] == "base64"


def test_bytes_that_a_controller_returns_are_binary_data_of_its_ack(made: dict[str, Any]) -> None:
    acks = [message(made, f"{event}.ack").get("x-binary") for event in ("download", "upload", "move")]
    assert acks == [True, None, None]
    described = render_markdown(made).split("### `download`")[1].split("### ")[0]
    assert "| `data` | `binary` |" in described
    assert "Binary data travels as attachments" in described


@pytest.mark.parametrize("indentation", ["", "    ", "\t"])
def test_documents_are_the_same_whether_python_keeps_the_indentation_of_docstrings(indentation: str) -> None:
    kind = msgspec.defstruct("Told", [("x", int)])
    kind.__doc__ = f"The first line.\n\n{indentation}The second:\n{indentation}  - and more.\n{indentation}"
    _, components = schemas_of([kind])
    assert components["Told"]["description"] == "The first line.\n\nThe second:\n  - and more."


def test_docstrings_are_summaries_and_descriptions(made: dict[str, Any]) -> None:
    said = made["operations"]["things.move"]
    assert (said["summary"], said["description"]) == ("Move it.", "As far as it goes.")
    assert message(made, "nothing")["summary"] == "Do nothing."
    # A controller of several events says nothing of each; what it takes does.
    assert message(made, "draw_again_1")["summary"] == "Round."
    assert message(document(chat, version="1"), "room.created", "chat")["summary"].startswith("A room exists")


@pytest.mark.parametrize("service", [things, chat], ids=["things", "chat"])
def test_examples_are_accepted_by_the_controllers_routes(service: Service[Any]) -> None:
    made = document(service, version="1")
    checked = 0
    for operation in made["operations"].values():
        namespace = followed(made, operation["channel"]["$ref"])["address"]
        shown = followed(made, operation["messages"][0]["$ref"])
        route = service.routers[namespace].routes.get(shown["name"])
        if operation["action"] == "receive" and route is not None and not route.binary and shown["name"] != "odd":
            payload = [example["payload"] for example in shown.get("examples", [])]
            args = payload[0] if shown.get("x-positional") else payload
            route.arguments(msgspec.json.encode(args))
            checked += 1
    assert checked == {"things": 7, "chat": len(chat.routers["/chat"].routes)}[service.name]


ALLOWED_TAGS = {
    *("html", "head", "meta", "title", "style", "body", "nav", "main", "section", "article", "details", "summary"),
    *("h1", "h2", "h3", "h4", "p", "ul", "li", "a", "span", "strong", "small", "code", "pre"),
    *("div", "table", "thead", "tbody", "tr", "th", "td"),
}
ALLOWED_ATTRIBUTES = {"lang", "charset", "name", "content", "href", "id", "class", "scope", "aria-label", "open"}


class Tags(HTMLParser):
    """What a page consists of."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.ids: list[str] = []
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links += [value or "" for name, value in attrs if name == "href"]
        self.ids += [value or "" for name, value in attrs if name == "id"]

    def handle_data(self, data: str) -> None:
        self.text += data


def hostile() -> Service[Any]:
    async def controller(_context: Context[Any], value: Annotated[str, msgspec.Meta(description=HOSTILE)]) -> None: ...

    controller.__doc__ = f"{HOSTILE}\n\n# A heading\n\n    code\n\n`open\n\n<i>not closed`"
    router = Router[Any]("/<hr>")
    router.route('"><script>alert(4)</script>', controller)
    router.sends("x", Annotated[int, msgspec.Meta(examples=["</code><script>alert(5)</script>"])])
    return Service("<s>service</s>", router)


@pytest.mark.parametrize("service", [things, chat, hostile()], ids=["things", "chat", "hostile"])
def test_the_html_page_needs_nothing_besides_and_its_links_lead_into_it(service: Service[Any]) -> None:
    page = Tags(render_html(document(service, version="<u>1</u>")))

    assert page.tags <= ALLOWED_TAGS
    assert page.attributes <= ALLOWED_ATTRIBUTES
    assert len(page.ids) == len(set(page.ids))
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids)
    assert not re.search(r"url\(|@import", render_html(document(service, version="1")))


def test_what_is_hostile_is_shown_as_it_is() -> None:
    made = document(hostile(), version="1")

    assert "<script>alert(1)</script> <img src=x onerror=alert(2)>" in Tags(render_html(made)).text
    markdown = render_markdown(made)
    outside = re.sub(r"^```.*?^```$", "", markdown, flags=re.DOTALL | re.MULTILINE)
    assert set(re.findall(r"<(\w+)", re.sub(r"`[^`\n]*`", "", outside))) == {"a", "code"}
    assert "[click](" not in outside
    assert "\n# A heading" not in outside
    rows = [line for line in outside.splitlines() if line.startswith("| `value`")]
    assert [len(re.findall(r"(?<!\\)\|", row)) for row in rows] == [5]


def test_the_markdown_page_shows_fields_acks_and_examples(made: dict[str, Any]) -> None:
    markdown = render_markdown(made)

    assert "| `y` | `integer` | yes | ≤ 9 |" in markdown
    assert "| `to.radius` | `number` | yes | How far it reaches; &gt; 0 |" in markdown
    assert "| `children[].name` | `string` | yes |  |" in markdown
    assert "| `seconds` | `integer` | no, `6` | ≥ 2 |" in markdown
    assert "| `blob.data` | `binary` | yes |  |" in markdown
    assert "| `side` | `number` | yes | only in `Square` |" in markdown
    assert 'socket.emitWithAck("move", 1, 1, {"type": "circle", "radius": 1});' in markdown
    assert "| `forbidden` | no | This is not allowed. |" in markdown
    anchors = set(re.findall(r'<a id="([^"]+)"', markdown))
    assert set(re.findall(r"\]\(#([^)]+)\)", markdown)) <= anchors


async def test_a_web_app_shows_the_page_and_the_document() -> None:
    app = FastAPI()
    app.include_router(asyncapi_router(things, "1.2"), prefix="/api")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        shown, page = await client.get("/api/asyncapi.json"), await client.get("/api/asyncapi")

    assert shown.json() == json.loads(json.dumps(document(things, version="1.2")))
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "things" in Tags(page.text).text


def test_the_committed_reference_is_what_the_code_says() -> None:
    made = document(chat, version=metadata.version("parley-cli"))

    assert (REFERENCE / "chat.md").read_text("utf-8") == render_markdown(made), REGENERATE
    written = json.loads((REFERENCE / "chat.asyncapi.json").read_text("utf-8"))
    assert written == json.loads(json.dumps(made)), REGENERATE
