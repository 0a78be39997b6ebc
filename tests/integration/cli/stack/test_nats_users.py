"""What each NATS user may do, tried on a real server with the configuration that `parley` writes for it."""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

import msgspec
import nats
import pytest
from nats.aio.msg import Msg
from nats.errors import NoServersError

from parley.cli.stack import embedded
from parley.cli.stack.nats_users import passwords_for, render, url_of
from parley.common.errors import Reject
from parley.common.nats.bus import Bus, connect
from parley.common.nats.subscriptions import ListeningClient
from parley.common.process.settings import ServiceSettings
from parley.common.wire import subjects
from parley.common.wire.codec import decode
from parley.common.wire.identity import Authenticate, Identity
from parley.common.wire.permissions import CHAT_NAMESPACES, ServiceAccess, permissions
from parley.common.wire.requests import Answer, Answers, Requests
from parley.common.wire.rooms import Replay, Replayed
from tests.support.bus import fresh
from tests.support.waiting import until

SERVICES = {
    "chat": ServiceAccess(CHAT_NAMESPACES),
    "poll": ServiceAccess(("/poll",), consumers=("tally",)),
    "shop": ServiceAccess(emits=("/chat",)),
}
GATEWAY = "gateway1:run"


def inbox(asker: str, subject: str) -> str:
    """Where somebody awaits the answers to what was asked on a subject."""
    return subjects.inbox(asker, subjects.answerer_of(subject))


def of_namespace(namespace: str) -> dict[str, str]:
    """All subjects of a namespace."""
    return {
        f"commands {namespace}": subjects.commands(namespace),
        f"acks {namespace}": subjects.acks(GATEWAY, namespace),
        f"announcements {namespace}": subjects.announcements(namespace),
        f"connect {namespace}": subjects.connect(namespace),
        f"closed {namespace}": subjects.closed(namespace),
        f"memberships {namespace}": subjects.memberships(namespace),
        f"replay {namespace}": subjects.replay(namespace),
        f"advanced_heads {namespace}": subjects.advanced_heads(namespace),
        f"room_heads {namespace}": subjects.room_heads(namespace),
        f"room {namespace}": subjects.room(namespace, "lobby"),
        f"room of a user {namespace}": subjects.room(namespace, subjects.user_room("ann")),
        f"rooms {namespace}": subjects.rooms(namespace),
        f"sockets {namespace}": subjects.sockets(namespace),
        f"gateway {namespace}": subjects.gateway(GATEWAY, namespace),
        f"inbox answered by {namespace}": inbox("gateway", subjects.replay(namespace)),
    }


SUBJECTS = {
    **of_namespace("/chat"),
    **of_namespace("/poll"),
    "AUTHENTICATE": subjects.AUTHENTICATE,
    "WELCOME": subjects.WELCOME,
    "ARCHIVE_ROOM": subjects.ARCHIVE_ROOM,
    "REGISTER_CONSUMER": subjects.REGISTER_CONSUMER,
    "ERASE_USER": subjects.ERASE_USER,
    "GET_ERASURE": subjects.GET_ERASURE,
    "LIST_ROOMS": subjects.LIST_ROOMS,
    "READ_USER_EVENTS": subjects.READ_USER_EVENTS,
    "ADDRESS_BANS": subjects.ADDRESS_BANS,
    "AUDIT": subjects.AUDIT,
    "kicked": subjects.kicked("k_1"),
    "GATEWAYS": subjects.GATEWAYS,
    "gateway for all namespaces": subjects.gateway(GATEWAY, ""),
    "compare": subjects.compare(GATEWAY),
    "PRESENCE": subjects.PRESENCE,
    "gateway_presence": subjects.gateway_presence(GATEWAY),
    "recover": subjects.recover(GATEWAY),
    "consume tally": subjects.consume("tally"),
    "consume other": subjects.consume("other"),
    **{f"alive {name}": subjects.alive(name, "one:run") for name in ("gateway", "auth", "chat", "poll", "shop")},
    **{f"name {name}": subjects.name(name, "one") for name in ("gateway", "auth", "chat", "poll", "shop")},
    "inbox answered by auth": inbox("gateway", subjects.AUTHENTICATE),
    "inbox answered by chat": inbox("auth", subjects.LIST_ROOMS),
    "inbox answered by gateways": inbox("auth", subjects.compare(GATEWAY)),
    "inbox answered by tally": inbox("chat", subjects.consume("tally")),
    "made up": "made.up",
    "of JetStream": "$JS.API.INFO",
}


def behind(namespace: str) -> set[str]:
    """What the service behind a namespace publishes."""
    names = ("commands", "acks", "announcements", "advanced_heads", "room", "room of a user", "rooms")
    return {f"{name} {namespace}" for name in (*names, "inbox answered by")} | emitting(namespace) | {"compare"}


def emitting(namespace: str) -> set[str]:
    """What an emitter to a namespace publishes."""
    return {f"sockets {namespace}", f"gateway {namespace}"}


def asked(namespace: str) -> set[str]:
    """What gateways publish for the service behind a namespace."""
    return {f"{name} {namespace}" for name in ("commands", "connect", "closed", "memberships", "replay", "room_heads")}


def told(namespace: str) -> set[str]:
    """What gateways hear of a namespace."""
    names = ("acks", "announcements", "advanced_heads", "room", "room of a user", "rooms", "sockets", "gateway")
    return {f"{name} {namespace}" for name in names}


ERASING = {"ARCHIVE_ROOM", "ERASE_USER", "GET_ERASURE", "LIST_ROOMS", "READ_USER_EVENTS"}
PUBLISHES = {
    "gateway": asked("/chat")
    | asked("/poll")
    | {"AUTHENTICATE", "WELCOME", "ADDRESS_BANS", "kicked", "recover", "inbox answered by gateways"}
    | {"PRESENCE", "gateway_presence", "alive gateway", "name gateway"},
    "auth": ERASING | {"GATEWAYS", "gateway for all namespaces", "inbox answered by auth", "alive auth", "name auth"},
    "chat": behind("/chat")
    | {
        "AUTHENTICATE",
        "WELCOME",
        "AUDIT",
        "consume tally",
        "consume other",
        "inbox answered by chat",
        "alive chat",
        "name chat",
    },
    "poll": behind("/poll") | {"REGISTER_CONSUMER", "inbox answered by tally", "alive poll", "name poll"},
    "shop": emitting("/chat") | {"alive shop", "name shop"},
}
ALL_ALIVE = {name for name in SUBJECTS if name.startswith("alive ")}
HEARS = {
    "gateway": told("/chat")
    | told("/poll")
    | {"GATEWAYS", "gateway for all namespaces", "compare", "recover", "name gateway"}
    | {"PRESENCE", "gateway_presence"}
    | {name for name, subject in SUBJECTS.items() if subject.startswith("_INBOX.gateway.")},
    "auth": {"AUTHENTICATE", "WELCOME", "ADDRESS_BANS", "AUDIT", "kicked", "name auth"}
    | {name for name, subject in SUBJECTS.items() if subject.startswith("_INBOX.auth.")},
    "chat": ERASING
    | asked("/chat")
    | {"REGISTER_CONSUMER", "name chat"}
    | {name for name, subject in SUBJECTS.items() if subject.startswith("_INBOX.chat.")},
    "poll": asked("/poll") | {"consume tally", "name poll"},
    "shop": {"name shop"},
}


class Broker:
    """A server with the permissions of production, and a URL for each user."""

    def __init__(self, url: str, passwords: dict[str, str]) -> None:
        self.url = url
        self.urls = {name: url_of(url, name, password) for name, password in passwords.items()}

    def bus(self, user: str) -> AbstractAsyncContextManager[Bus]:
        """A process of this user."""
        return connect(ServiceSettings(nats_url=self.urls[user], instance=fresh(user)), user)

    async def refused(self, user: str, wildcards: list[str] | None = None) -> tuple[set[str], set[str]]:
        """The names of the subjects that a user may not publish on, and of those it may not listen to."""
        refusals: list[str] = []

        async def note(error: Exception) -> None:
            refusals.append(str(error))

        client = ListeningClient()
        await client.connect(self.urls[user], error_cb=note)
        for subject in (*SUBJECTS.values(), *(wildcards or ())):
            await client.publish(subject, b"")
            await client.subscribe(subject)
        await client.wait_until_received(10)
        await client.close()
        found: dict[str, set[str]] = {"publish": set(), "subscription": set()}
        by_subject = {subject.lower(): name for name, subject in SUBJECTS.items()}
        for refusal in refusals:
            kind, subject = re.findall(r"permissions violation for (publish|subscription) to \"([^\"]+)\"", refusal)[0]
            found[kind].add(by_subject.get(subject) or subject)
        return found["publish"], found["subscription"]


@pytest.fixture(scope="module")
async def broker(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Broker]:
    """The server that every test here tries its luck with."""
    users = permissions(SERVICES)
    passwords = passwords_for(users)
    directory = tmp_path_factory.mktemp("nats")
    with embedded.nats(directory, configuration=render(users, passwords)) as url:
        yield Broker(url, passwords)


@pytest.mark.parametrize("user", PUBLISHES)
async def test_a_user_may_do_what_it_needs_and_nothing_else(broker: Broker, user: str):
    publish, listen = await broker.refused(user)
    assert publish == SUBJECTS.keys() - PUBLISHES[user], "published"
    assert listen == SUBJECTS.keys() - (HEARS[user] | ALL_ALIVE), "heard"


@pytest.mark.parametrize("user", PUBLISHES)
async def test_nobody_listens_to_everything(broker: Broker, user: str):
    everything = [">", "*.>", "_INBOX.>", "_INBOX.*.>", "cmd.>", "auth.>", "$SYS.>", "room.>"]
    _, listen = await broker.refused(user, everything)
    assert listen >= {subject.lower() for subject in everything}


def test_every_subject_is_tried():
    patterns = {"ALIVE", "KICK_REPORTS", "MAX_LENGTH", "GATEWAY_ANSWERS"}
    builders = {
        name
        for name, made in vars(subjects).items()
        if not name.startswith("_")
        and getattr(made, "__module__", "") == subjects.__name__
        and inspect.signature(made).return_annotation == "str"
    }
    no_subjects = {
        "encode",
        "decode",
        "user_room",
        "ranges",
        "with_range",
        "namesakes",
        "answerer_of",
        "inbox",
        "parse_kicked",
    }
    constants = {name for name, value in vars(subjects).items() if name.isupper() and isinstance(value, str)}
    tried = {name.split(" ", 1)[0] for name in SUBJECTS}
    assert (builders - no_subjects) | (constants - patterns) <= tried


async def test_nobody_comes_in_without_a_password_or_with_anothers(broker: Broker):
    async def ignore(_error: Exception) -> None:
        """The refusal is what the test is about."""

    for url in (broker.url, url_of(broker.url, "auth", broker.urls["chat"].split(":")[2].split("@")[0])):
        with pytest.raises(NoServersError):
            await nats.connect(url, max_reconnect_attempts=1, error_cb=ignore, connect_timeout=1)


async def test_who_was_asked_cannot_answer_what_another_was_asked(broker: Broker):
    """What chat publishes to the inbox that it was asked with settles no question that auth was asked."""
    seen: list[Requests] = []
    may_answer = asyncio.Event()
    async with broker.bus("gateway") as gateway, broker.bus("auth") as auth, broker.bus("chat") as chat:

        async def authenticate(claim: Authenticate) -> Identity:
            await may_answer.wait()
            return Identity(claim.token, "Ann")

        async def see(message: Msg) -> None:
            seen.append(decode(message.data, Requests))

        await auth.respond(subjects.AUTHENTICATE, Authenticate, authenticate, queue="auth")
        await chat.subscribe(subjects.replay("/chat"), see)
        await auth.flush()
        await chat.flush()
        to_auth = asyncio.create_task(gateway.request(subjects.AUTHENTICATE, Authenticate("ann"), Identity))
        to_chat = asyncio.create_task(gateway.request(subjects.replay("/chat"), Replay("room", 0, 1), Replayed))
        await until(lambda: seen)
        lie = Answer(None, msgspec.Raw(Identity("admin", "Admin", ("admin",)).encode()))
        (tag,) = gateway._client_side._questions["auth"].sent._entries
        await chat.publish(seen[0].inbox, Answers([(tag, lie)]).encode())
        await chat.publish(seen[0].inbox, Answers([(seen[0].requests[0].tag, lie)]).encode())
        with pytest.raises(Reject):
            await to_chat
        assert not to_auth.done()
        may_answer.set()
        assert (await to_auth).user_id == "ann"
