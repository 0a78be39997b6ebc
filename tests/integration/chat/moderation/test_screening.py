"""A service of the adopter's looks at texts before they are committed: heeded, bounded in time, in nobody's way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from parley.chat.domain.membership import JoinRoom, LeaveRoom
from parley.chat.domain.messages import MessageSent, SendMessage
from parley.chat.log.database import Pool
from parley.chat.log.writer import Writer
from parley.chat.moderation.screening import AT_ONCE, Screening
from parley.chat.settings import ChatSettings
from parley.common.errors import Code, Reject
from parley.common.process.tasks import Tasks
from tests.support.chat.writing import ANN, BEN, RecordingPublisher, create
from tests.support.ports import free_port
from tests.support.services.screening_service import ScreeningService
from tests.support.waiting import until


@pytest.fixture
async def service() -> AsyncIterator[ScreeningService]:
    """The adopter's service."""
    async with ScreeningService.running() as running:
        yield running


@asynccontextmanager
async def screened(database_url: str, screen_url: str, **settings: Any) -> AsyncGenerator[Writer]:
    """A chat process whose texts are screened. Its timeout is long, so that no busy machine answers for the service."""
    settings.setdefault("chat_screen_timeout", 5.0)
    configured = ChatSettings(database_url=database_url, chat_screen_url=screen_url, **settings)
    async with httpx.AsyncClient(timeout=5) as client, Tasks() as tasks:
        writer = Writer(RecordingPublisher().publish, configured, Screening(client, configured).screen)
        await writer.connect()
        tasks.forever(writer.run(), name="writer")
        yield writer


def say(number: object, room: str, text: str) -> SendMessage:
    return SendMessage(f"m{number}", room, text)


async def code(future: asyncio.Future[Any]) -> Code:
    with pytest.raises(Reject) as caught:
        await future
    return caught.value.code


async def test_what_it_says_is_heeded(database_url: str, service: ScreeningService):
    async with screened(database_url, service.url, chat_screen_token="secret") as writer:
        room = await create(writer)
        sent = [writer.submit(say(n, room, text), ANN, "") for n, text in enumerate(("fine", "odd one", "vile"))]
        fine, odd, vile = await asyncio.gather(*sent, return_exceptions=True)
        assert not isinstance(fine, BaseException)
        assert not isinstance(odd, BaseException)
        assert fine.recorded is not None
        assert odd.recorded is not None
        assert (fine.recorded.event(), odd.recorded.event()) == (
            MessageSent("fine"), MessageSent("odd one", flagged="odd"),
        )  # fmt: skip
        assert isinstance(vile, Reject)
        assert (vile.code, vile.message, vile.data) == (Code.FORBIDDEN, "Be kind.", {"label": "hate"})
        assert service.asked[0] == {
            "command": "message.send", "id": "m0", "room": room, "user": {"id": "u_ann", "name": "Ann"}, "body": "fine",
        }  # fmt: skip
        assert service.tokens == {"Bearer secret"}


async def test_a_message_that_was_committed_stays_so_whatever_is_said_of_it_later(
    database_url: str, service: ScreeningService
):
    async with screened(database_url, service.url) as writer:
        room = await create(writer)
    async with screened(database_url, f"http://127.0.0.1:{free_port()}/") as writer:
        before = await writer.submit(say(1, room, "vile"), ANN, "")
    async with screened(database_url, service.url) as writer:
        assert (await writer.submit(say(1, room, "vile"), ANN, "")).sequence == before.sequence, "sent again"
        assert await code(writer.submit(say(2, room, "vile"), ANN, "")) is Code.FORBIDDEN
        assert await code(writer.submit(say(3, room, "vile"), BEN, "")) is Code.NOT_A_MEMBER, "the room's own no first"


@pytest.mark.parametrize("text", ["slow", "broken", "nonsense", "endless"])
@pytest.mark.parametrize("fail_open", [True, False])
async def test_without_an_answer_texts_are_allowed_or_refused_as_is_set(
    database_url: str, service: ScreeningService, text: str, *, fail_open: bool
):
    timeout = 0.05 if text == "slow" else 5
    async with screened(
        database_url, service.url, chat_screen_fail_open=fail_open, chat_screen_timeout=timeout
    ) as writer:
        room = await create(writer)
        sent = writer.submit(say(1, room, text), ANN, "")
        if fail_open:
            assert (await sent).sequence == 2
        else:
            assert await code(sent) is Code.UNAVAILABLE


async def test_who_waits_for_it_holds_up_only_themselves_and_in_order(
    database_url: str, service: ScreeningService, pool: Pool
):
    async with screened(database_url, service.url) as writer:
        room = await create(writer)
        other = await create(writer, BEN, "other")
        held = [
            writer.submit(say(1, room, "slow"), ANN, ""),
            writer.submit(say(2, room, "fine"), ANN, ""),
            writer.submit(JoinRoom("j", other), ANN, ""),
            writer.submit(LeaveRoom("l", room), ANN, ""),
        ]
        await until(lambda: len(service.asked) == 2, "both texts asked about at once")
        for number in range(3):
            await writer.submit(say(number, other, "quick"), BEN, "")
        assert not any(one.done() for one in held)
        assert await pool.fetchval("SELECT head FROM chat.rooms WHERE name = 'General' AND created_by = 'u_ann'") == 1
        service.stuck.set()
        outcomes = await asyncio.gather(*held)
        assert [one.sequence for one in outcomes] == [2, 3, 5, 4]


async def test_it_is_asked_about_so_many_at_once(database_url: str, service: ScreeningService):
    settings: dict[str, Any] = {"chat_screen_fail_open": False, "chat_max_waiting_per_user": 1000}
    async with screened(database_url, service.url, **settings) as writer:
        room = await create(writer)
        sent = [writer.submit(say(n, room, "slow"), ANN, "") for n in range(AT_ONCE + 5)]
        service.stuck.set()
        outcomes = await asyncio.gather(*sent, return_exceptions=True)
        refused = [one.code for one in outcomes if isinstance(one, Reject)]
        assert refused == [Code.UNAVAILABLE] * 5


async def test_a_stopping_process_answers_who_still_waits_for_it(database_url: str, service: ScreeningService):
    async with screened(database_url, service.url) as writer:
        room = await create(writer)
        held = [writer.submit(say(n, room, "slow"), ANN, "") for n in range(3)]
        await until(lambda: len(service.asked) == 3, "the questions")
    assert [await code(one) for one in held] == [Code.UNAVAILABLE] * 3
