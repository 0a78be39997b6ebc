"""Namespaces come from a file; each mistake in it is named with the file and the place."""

from __future__ import annotations

from pathlib import Path

import pytest

from parley.common.wire.permissions import ServiceAccess
from parley.gateway import named_middleware
from parley.gateway.namespaces import MAX_PAYLOAD, ConfigurationError, Namespace, load, load_services


def write(directory: Path, text: str | bytes) -> Path:
    """A namespaces file with this content."""
    path = directory / "namespaces.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_without_a_file_there_is_chat_and_it_needs_a_token():
    assert load(None) == {"/chat": Namespace("chat", "required", 256 * 1024)}


def test_a_file_names_each_namespaces_service_and_rules(tmp_path: Path):
    path = write(
        tmp_path,
        f"""
        [namespaces."/chat"]
        service = "chat"
        [namespaces."/p2p/lobby"]
        service = "p2p"
        auth = "guest"
        max_payload = {MAX_PAYLOAD}
        [namespaces."/"]
        service = "root_service-2"
        """,
    )
    assert load(path) == {
        "/chat": Namespace("chat"),
        "/p2p/lobby": Namespace("p2p", "guest", MAX_PAYLOAD),
        "/": Namespace("root_service-2"),
    }


@pytest.mark.parametrize(
    ("text", "place"),
    [
        pytest.param('[namespaces."/c"]\nservice = \n', "line 2", id="no TOML"),
        pytest.param(b'[namespaces."/\xff"]\nservice = "c"\n', "utf-8", id="no text"),
        pytest.param("", "namespaces", id="empty"),
        pytest.param("[namespaces]\n", "namespaces", id="no namespace"),
        pytest.param('[namespace."/c"]\nservice = "c"\n', "namespace", id="wrong table"),
        pytest.param('[namespaces."/c"]\nauth = "guest"\n', "service", id="no service"),
        pytest.param('[namespaces."/c"]\nservice = ""\n', "service", id="empty service"),
        pytest.param('[namespaces."/c"]\nservice = "a.>"\n', "service", id="service with a wildcard"),
        pytest.param('[namespaces."/c"]\nservice = 1\n', "service", id="service of another type"),
        pytest.param('[namespaces."/c"]\nservice = "c"\nauth = "none"\n', "auth", id="unknown auth"),
        pytest.param('[namespaces."/c"]\nservice = "c"\nmax_payload = 10\n', "max_payload", id="too small"),
        pytest.param(
            f'[namespaces."/c"]\nservice = "c"\nmax_payload = {MAX_PAYLOAD + 1}\n', "max_payload", id="too large"
        ),
        pytest.param('[namespaces."/c"]\nservice = "c"\nmax_paylod = 2048\n', "max_paylod", id="misspelt key"),
        pytest.param('[namespaces."c"]\nservice = "c"\n', '"c"', id="no slash"),
        pytest.param('[namespaces."/c"]\nservice = "c"\ntimeout = 0\n', "timeout", id="no time"),
        pytest.param('[namespaces."/c"]\nservice = "c"\nheaders = ["User Agent"]\n', "headers", id="no header"),
        pytest.param('[namespaces."/a,b"]\nservice = "c"\n', '"/a,b"', id="comma"),
        pytest.param('[namespaces."/a?b"]\nservice = "c"\n', '"/a?b"', id="question mark"),
        pytest.param('[namespaces."/a b"]\nservice = "c"\n', '"/a b"', id="space"),
        pytest.param('[namespaces."/a\\n"]\nservice = "c"\n', '"/a', id="line break"),
    ],
)
def test_a_mistake_is_named_with_the_file_and_the_place(tmp_path: Path, text: str | bytes, place: str):
    path = write(tmp_path, text)
    with pytest.raises(ConfigurationError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert place in str(caught.value).removeprefix(str(path))


def test_the_namespace_with_the_mistake_is_told_from_the_good_ones(tmp_path: Path):
    path = write(tmp_path, '[namespaces."/good"]\nservice = "a"\n[namespaces."/bad"]\nservice = "B"\n')
    with pytest.raises(ConfigurationError, match="/bad"):
        load(path)


def test_a_missing_file_is_named_with_its_setting(tmp_path: Path):
    with pytest.raises(ConfigurationError, match=r"nowhere\.toml: no such file \(PARLEY_NAMESPACES_FILE\)"):
        load(tmp_path / "nowhere.toml")


def test_a_directory_is_no_file(tmp_path: Path):
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path}: ")


async def around_all(subject: object, call_next: object) -> None:
    """Middleware of an adopter's own."""


def not_async(subject: object, call_next: object) -> None:
    """No middleware."""


class Around:
    """Middleware that was made with something."""

    async def __call__(self, subject: object, call_next: object) -> None:
        """Be it."""


around_one = Around()


@pytest.mark.parametrize("kind", ["connection_middleware", "packet_middleware"])
def test_middleware_is_named_where_it_is_or_by_its_name_here(tmp_path: Path, kind: str):
    names = ["log", f"{__name__}:around_all", f"{__name__}.around_one"]
    path = write(tmp_path, f'[namespaces."/c"]\nservice = "c"\n{kind} = {names}\n')
    assert getattr(load(path)["/c"], kind) == tuple(names)
    found = [
        {"connection_middleware": named_middleware.connection, "packet_middleware": named_middleware.packet}[kind](n)
        for n in names
    ]
    assert found[1:] == [around_all, around_one]


@pytest.mark.parametrize("kind", ["connection_middleware", "packet_middleware"])
@pytest.mark.parametrize(
    ("name", "said"),
    [
        pytest.param("lgo", "log", id="neither here nor a path"),
        pytest.param("no.such.module:function", "No module named 'no'", id="no module"),
        pytest.param(f"{__name__}:nothing", "nothing", id="no such function"),
        pytest.param(f"{__name__}:not_async", "no async function", id="not async"),
        pytest.param("..:", "..:", id="no path at all"),
    ],
)
def test_a_name_that_leads_nowhere_refuses_to_start_and_says_where(tmp_path: Path, kind: str, name: str, said: str):
    path = write(tmp_path, f'[namespaces."/c"]\nservice = "c"\n{kind} = ["log", "{name}"]\n')
    with pytest.raises(ConfigurationError) as caught:
        load(path)
    assert str(caught.value).startswith(f'{path}: namespaces."/c".{kind}[1]: ')
    assert said in str(caught.value)


def test_a_middleware_whose_module_fails_is_told_with_its_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "broken_middleware.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    path = write(tmp_path, '[namespaces."/c"]\nservice = "c"\npacket_middleware = ["broken_middleware:f"]\n')
    with pytest.raises(ConfigurationError, match="ZeroDivisionError"):
        load(path)


def test_what_services_may_do_on_nats_is_said_beside_the_namespaces(tmp_path: Path):
    path = write(
        tmp_path,
        """
        [namespaces."/chat"]
        service = "chat"
        [namespaces."/poll"]
        service = "poll"
        packet_middleware = ["nowhere:found"]
        [services.poll]
        consumers = ["tally"]
        [services.shop]
        emits = ["/chat"]
        """,
    )
    assert load_services(path) == {
        "gateway": ServiceAccess(emits=("/poll",)),
        "chat": ServiceAccess(("/chat",)),
        "poll": ServiceAccess(("/poll",), consumers=("tally",)),
        "shop": ServiceAccess(emits=("/chat",)),
    }
    assert load_services(None) == {"gateway": ServiceAccess(), "chat": ServiceAccess(("/chat",))}
    with pytest.raises(ConfigurationError, match="unknown field `listens`"):
        load(write(tmp_path, '[namespaces."/a"]\nservice = "a"\n[services.a]\nlistens = ["/b"]\n'))
