"""Pushes notifications to browsers of users who have not read them yet. Best effort: the log of notifications has all.

1. A notification makes its user due a few seconds later, unless they are due already (`inbox_store`).
2. One process takes the user. It looks again at what is not read, and may still be seen, since the last push; if that
   is nothing, nothing is sent. However many there are, it is one push, about the newest of them.
3. Auth is asked whether the user is still welcome. Browsers whose login has ended, or that subscribed before everything
   of the user's was revoked, are forgotten: whoever had the account before is told no more. A banned user is pushed
   nothing.
4. Each browser is sent it, encrypted for that browser alone. One that is gone (404, 410) is forgotten.
5. What was pushed is noted. If the process dies before, the user is due again later, and the browser's push service
   replaces what it has of the same room by `topic`.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import msgspec
from prometheus_client import Counter

from parley.chat.domain.events import ClientEvent
from parley.chat.log.database import DATABASE_ERRORS, Pool
from parley.chat.notifications import inbox, push_subscriptions
from parley.chat.notifications.inbox import NotificationData
from parley.chat.notifications.push_subscriptions import PushTarget
from parley.chat.notifications.web_push import MAX_PAYLOAD, PushSigner, encode, push_request
from parley.common.http.guarded_fetch import PublicFetcher, RefusedAddress, Unfetched
from parley.common.process.outage_log import OutageLog
from parley.common.wire import subjects
from parley.common.wire.identity import CheckWelcome, HeldUser, UnwelcomeUsers
from parley.framework import Bus, Code, Reject, get_logger

log = get_logger(__name__)
outages = OutageLog(log, "cannot push notifications")

PUSHES = Counter("parley_chat_pushes_total", "Pushes to browsers", ["outcome"])
INTERVAL = 1.0
AT_ONCE = 20
"""Users whose browsers are pushed to at the same time."""
HELD_SECONDS = 60
"""Seconds after which a user is due again whose process died."""
ALIVE_SECONDS = 4 * 3600
"""Seconds after which a push service need not deliver any more."""
SECONDS = 10.0
"""Seconds that a push service has to answer."""
GONE = frozenset({404, 410})

_TAKE = f"""
UPDATE chat.inboxes i SET push_at = clock_timestamp() + interval '{HELD_SECONDS} s'
FROM (
  SELECT user_id FROM chat.inboxes WHERE push_at <= clock_timestamp() ORDER BY push_at LIMIT $1 FOR UPDATE SKIP LOCKED
) due WHERE i.user_id = due.user_id RETURNING i.user_id, i.head, i.pushed
"""
# If more came meanwhile, the user stays due.
_PUSHED = """
UPDATE chat.inboxes SET pushed = greatest(pushed, $2), push_at = CASE WHEN head > $2 THEN clock_timestamp() END
WHERE user_id = $1
"""


class PushMessage(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a browser is pushed: the newest notification, and how many are new and how many unread."""

    notification: ClientEvent[NotificationData]
    new: int
    unread: int


class Pusher:
    """Pushes what is due."""

    def __init__(self, pool: Pool, bus: Bus, signer: PushSigner, fetcher: PublicFetcher) -> None:
        self._pool = pool
        self._bus = bus
        self._signer = signer
        self._fetcher = fetcher

    async def run(self) -> None:
        """Push what is due, for ever."""
        while True:
            await asyncio.sleep(INTERVAL)
            try:
                while rows := await self._pool.fetch(_TAKE, AT_ONCE):
                    await asyncio.gather(*(self._push(row) for row in rows))
            except (*DATABASE_ERRORS, Reject) as error:
                outages.note(error)

    async def _push(self, row: Any) -> None:
        user_id, head = row["user_id"], row["head"]
        news = await inbox.news(self._pool, user_id, row["pushed"])
        if news.newest is not None:
            payload = _payload(PushMessage(news.newest, news.new, news.unread))
            targets = await self._welcome(user_id)
            await asyncio.gather(*(self._send(user_id, target, news.newest, payload) for target in targets))
        await self._pool.fetch(_PUSHED, user_id, head)

    async def _welcome(self, user_id: str) -> list[PushTarget]:
        """Return the browsers that may be told what the user may read now. Raises `Reject` if auth cannot be asked."""
        targets = await push_subscriptions.targets(self._pool, user_id)
        if not targets:
            return []
        # Kicks are of connections, and these are none.
        held = [HeldUser(user_id, target.issued_at, 0.0, target.login, later=True) for target in targets]
        answer = await self._bus.request(subjects.WELCOME, CheckWelcome(held), UnwelcomeUsers, repeat=True)
        refused = {each.position: each.code for each in answer.users}
        for position, code in refused.items():
            if code == Code.REVOKED_TOKEN:
                await push_subscriptions.forget(self._pool, user_id, targets[position].endpoint)
        return [target for position, target in enumerate(targets) if position not in refused]

    async def _send(
        self, user_id: str, target: PushTarget, newest: ClientEvent[NotificationData], payload: bytes
    ) -> None:
        request = push_request(
            self._signer, target.endpoint, target.keys, payload, topic=_topic(newest.data.room), seconds=ALIVE_SECONDS,
            urgent=newest.data.cause in {"mention", "reply", "direct"},
        )  # fmt: skip
        try:
            answer = await self._fetcher.fetch(
                target.endpoint, method="POST", headers=request.headers, content=request.body, max_bytes=1000,
                seconds=SECONDS, schemes=("https",),
            )  # fmt: skip
        except RefusedAddress:
            # By now its name stands for an address that is not public.
            PUSHES.labels("refused").inc()
            await push_subscriptions.forget(self._pool, user_id, target.endpoint)
        except Unfetched as error:
            PUSHES.labels("unanswered").inc()
            log.debug("a push service did not answer", error=str(error))
        else:
            PUSHES.labels(str(answer.status)).inc()
            if answer.status in GONE:
                await push_subscriptions.forget(self._pool, user_id, target.endpoint)


def _payload(message: PushMessage) -> bytes:
    encoded = msgspec.json.encode(message)
    if len(encoded) <= MAX_PAYLOAD:
        return encoded
    # Texts of few letters may have many bytes: what is told without them is enough to look.
    data = msgspec.structs.replace(message.notification.data, text="", name="")
    bare = msgspec.structs.replace(message.notification, data=data)
    return msgspec.json.encode(msgspec.structs.replace(message, notification=bare))


def _topic(room: str) -> str:
    """Return the topic of a room, at most 32 characters, which tells the push service nothing of it."""
    return encode(hashlib.sha256(room.encode()).digest()[:18])
