"""Has a service of the adopter's look at each text before it is committed: it allows, flags or rejects it.

The service is asked over HTTP, for `PARLEY_CHAT_SCREEN_TIMEOUT` at most. When it does not answer, texts are allowed or
refused, as the settings say. Meanwhile other users' commands go on; `log.held` keeps the order of each user's own.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

import httpx
import msgspec
from prometheus_client import Counter

from parley.chat.domain.room import ChatCommand
from parley.chat.domain.state import Screened
from parley.chat.settings import ChatSettings
from parley.common.errors import Code, Reject
from parley.common.process.logs import get_logger
from parley.common.process.outage_log import OutageLog
from parley.common.wire.identity import Identity

log = get_logger(__name__)
outages = OutageLog(log, "texts cannot be screened")

SCREENED = Counter("parley_chat_screened_total", "Texts that the screening service was asked about", ["verdict"])
AT_ONCE = 256
"""Texts that are asked about at once. Further ones are treated as if the service did not answer."""
MAX_ANSWER = 16 * 1024
OK = 200


class ScreenAnswer(msgspec.Struct, frozen=True):
    """What the service says of a text. The `label` is for moderators, the `message` for who wrote it."""

    verdict: Literal["allow", "flag", "reject"]
    label: Annotated[str, msgspec.Meta(max_length=100)] = ""
    message: Annotated[str, msgspec.Meta(max_length=300)] = ""


_decoder = msgspec.json.Decoder(ScreenAnswer)


class ScreenFailed(Exception):
    """The service gave no answer that is one, or none in time."""


class Screening:
    """Asks the service. It is a `log.held.Screen` by `screen`."""

    def __init__(self, client: httpx.AsyncClient, settings: ChatSettings) -> None:
        self._client = client
        self._url = settings.chat_screen_url
        self._timeout = settings.chat_screen_timeout
        self._fail_open = settings.chat_screen_fail_open
        token = settings.chat_screen_token.get_secret_value()
        self._headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {token}"} if token else {})
        self._asking: set[asyncio.Task[Screened]] = set()

    def screen(self, command: ChatCommand, identity: Identity) -> asyncio.Future[Screened] | None:
        """Have the text of a command looked at, if it has one."""
        body: object = getattr(command, "body", None)
        if not isinstance(body, str):
            return None
        if len(self._asking) >= AT_ONCE:
            answer: asyncio.Future[Screened] = asyncio.get_running_loop().create_future()
            answer.set_result(self._without_answer())
            return answer
        task = asyncio.create_task(self._ask(command, body, identity), name="screen a text")
        # The loop only holds tasks weakly: without this set one could be collected before its answer came.
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)
        return task

    async def _ask(self, command: ChatCommand, body: str, identity: Identity) -> Screened:
        user = {"id": identity.user_id, "name": identity.name}
        asked = {"command": command.NAME, "id": command.id, "room": getattr(command, "room", ""), "user": user}
        try:
            answer = await self._post(msgspec.json.encode(asked | {"body": body}))
        except ScreenFailed as error:
            outages.note(error)
            return self._without_answer()
        SCREENED.labels(answer.verdict).inc()
        if answer.verdict == "reject":
            data = {"label": answer.label} if answer.label else None
            return Screened(Reject(Code.FORBIDDEN, answer.message or "This text is not allowed.", data=data))
        return Screened(None, (answer.label or "flagged") if answer.verdict == "flag" else "")

    async def _post(self, content: bytes) -> ScreenAnswer:
        body = bytearray()
        try:
            async with (
                asyncio.timeout(self._timeout),
                self._client.stream("POST", self._url, content=content, headers=self._headers) as response,
            ):
                # Read piece by piece: a service that answers without end must not fill the memory.
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if len(body) > MAX_ANSWER:
                        raise ScreenFailed("the answer is too long")
            if response.status_code != OK:
                raise ScreenFailed(f"the answer is {response.status_code}")
            return _decoder.decode(bytes(body))
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ScreenFailed(f"{type(error).__name__}: {error}") from error

    def _without_answer(self) -> Screened:
        SCREENED.labels("failed").inc()
        return Screened() if self._fail_open else Screened(Reject(Code.UNAVAILABLE, "Texts cannot be checked now."))
