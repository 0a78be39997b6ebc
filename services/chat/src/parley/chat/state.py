"""The parts of a running chat service, as its controllers, endpoints and responders use them."""

from __future__ import annotations

from dataclasses import dataclass

from parley.chat.attachments.files import Files
from parley.chat.consumers.runner import ConsumerRunner
from parley.chat.delivery.room_events import ChatLog
from parley.chat.log.database import Pool
from parley.chat.log.erasure.erasure_runner import ErasureRunner
from parley.chat.log.writer import Writer
from parley.chat.notifications.notifier import Notifier
from parley.chat.notifications.web_push import PushSigner
from parley.chat.previews.link_previews import LinkPreviews
from parley.chat.reading.read_cursors import ReadCursors
from parley.chat.reading.thread_cursors import ThreadCursors
from parley.chat.search.finder import Finder
from parley.chat.signals.room_signals import RoomSignals
from parley.chat.slash.invocations import Invocations
from parley.chat.unsent.drafts import DraftKeeper
from parley.common.rate_limiter import RateLimiter
from parley.framework import Bus


@dataclass(frozen=True, slots=True)
class OwnParts:
    """The parts that deal with what single users have for themselves."""

    cursors: ReadCursors
    notifier: Notifier
    drafts: DraftKeeper
    max_body: int
    """Bytes of a message's text."""
    signer: PushSigner | None
    """What signs for push services; None if Web Push is off."""
    thread_cursors: ThreadCursors
    invocations: Invocations


@dataclass(frozen=True, slots=True)
class ChatState:
    """Everything that the service's lifespan opened. It lives as long as the service runs."""

    bus: Bus
    reads: Pool
    """Connections for what users and administrators read. The writer and the gateways have their own."""
    writer: Writer
    log: ChatLog
    consumers: ConsumerRunner
    erasures: ErasureRunner
    request_rates: RateLimiter
    """How often each user may ask over HTTP. The gateways limit what comes over sockets."""
    signals: RoomSignals
    own: OwnParts
    finder: Finder
    files: Files | None = None
    """None where no files are taken."""
    previews: LinkPreviews | None = None
    """None where no pages are fetched."""
