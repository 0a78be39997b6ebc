"""The table of what users ask and say about themselves alone: none of it is in a log, and each needs no `id`.

Socket routes, REST routes, and the documents of both are made from it, as from the table of commands. Over HTTP the
fields in braces come from the path, and the others from the query of a GET or from the body.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from parley.chat.domain.events import ClientEvent
from parley.chat.notifications import inbox, push_subscriptions
from parley.chat.notifications.inbox import (
    NOTIFICATION,
    ListNotifications,
    NotificationData,
    NotificationPage,
    NotificationsRead,
    ReadNotifications,
)
from parley.chat.notifications.push_subscriptions import GetPushKey, PushKey, SubscribePush, UnsubscribePush
from parley.chat.reading import preferences, receipts, room_list, thread_list, unread_counts
from parley.chat.reading.preferences import GetPreferences, Preferences, SetLevel, SetPreferences
from parley.chat.reading.read_cursors import MarkRead, MarkUnread, ReadChange, ReadState
from parley.chat.reading.receipts import GetReceipts, Receipts
from parley.chat.reading.room_list import ListMyRooms, RoomListPage
from parley.chat.reading.thread_cursors import MarkThreadRead, ThreadReadChange, ThreadReadState
from parley.chat.reading.thread_list import ListThreads, ThreadPage
from parley.chat.reading.unread_counts import ListUnread, UnreadPage
from parley.chat.slash import offered
from parley.chat.slash.invocations import (
    AskedOfBot,
    CommandOutcome,
    DeferReply,
    InvokeCommand,
    ListInvocations,
    ReplyToCommand,
    WaitingInvocations,
)
from parley.chat.slash.offered import ListCommands, OfferedCommands, SetCommands
from parley.chat.state import ChatState
from parley.chat.unsent import scheduled_messages
from parley.chat.unsent.drafts import ListDrafts, PutDraft, StoredDraft, StoredDrafts
from parley.chat.unsent.scheduled_messages import (
    CancelScheduled,
    ListScheduled,
    ScheduledMessages,
    ScheduledOutcome,
    ScheduleMessage,
)
from parley.framework import Identity

Handler = Callable[[ChatState, Identity, Any], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class OwnRoute:
    """One question or statement: its name, what it takes and gives, its method and path over HTTP, and who answers."""

    name: str
    payload: type[Any]
    result: Any
    method: str
    path: str
    summary: str
    answer: Handler
    writes: bool = False
    """Whether it is refused to keys that may read only, and to who is suspended if others have to do with it."""
    reaches_others: bool = False
    """Whether others are told of it, at once or later."""

    @property
    def own(self) -> bool:
        """Whether it changes what is its user's alone, which whoever looks on in their place may not."""
        return self.method != "GET" and not self.reaches_others


async def _read(chat: ChatState, identity: Identity, said: MarkRead) -> ReadState:
    return await chat.own.cursors.read(identity, said)


async def _mark_unread(chat: ChatState, identity: Identity, said: MarkUnread) -> ReadState:
    return await chat.own.cursors.mark_unread(identity, said)


async def _receipts(chat: ChatState, identity: Identity, asked: GetReceipts) -> Receipts:
    return await receipts.receipts(chat.reads, identity, asked)


async def _rooms(chat: ChatState, identity: Identity, asked: ListMyRooms) -> RoomListPage:
    return await room_list.room_list(chat.reads, identity, asked)


async def _unread(chat: ChatState, identity: Identity, asked: ListUnread) -> UnreadPage:
    return await unread_counts.unread_counts(chat.reads, identity, asked)


async def _preferences(chat: ChatState, identity: Identity, asked: GetPreferences) -> Preferences:
    return await preferences.get(chat.reads, identity, asked)


async def _set_preferences(chat: ChatState, identity: Identity, said: SetPreferences) -> Preferences:
    return await preferences.update(chat.reads, identity, said)


async def _set_level(chat: ChatState, identity: Identity, said: SetLevel) -> None:
    await preferences.set_level(chat.reads, identity, said)


async def _notifications(chat: ChatState, identity: Identity, asked: ListNotifications) -> NotificationPage:
    return await inbox.page(chat.reads, identity, asked)


async def _read_notifications(chat: ChatState, identity: Identity, said: ReadNotifications) -> NotificationsRead:
    return await chat.own.notifier.read(identity, said)


async def _push_key(chat: ChatState, _identity: Identity, _asked: GetPushKey) -> PushKey:
    return PushKey(push_subscriptions.require_signer(chat.own.signer).public)


async def _subscribe(chat: ChatState, identity: Identity, said: SubscribePush) -> None:
    push_subscriptions.require_signer(chat.own.signer)
    await push_subscriptions.subscribe(chat.reads, identity, said)


async def _unsubscribe(chat: ChatState, identity: Identity, said: UnsubscribePush) -> None:
    await push_subscriptions.unsubscribe(chat.reads, identity, said)


async def _put_draft(chat: ChatState, identity: Identity, said: PutDraft) -> None:
    await chat.own.drafts.put(identity, said)


async def _drafts(chat: ChatState, identity: Identity, asked: ListDrafts) -> StoredDrafts:
    return await chat.own.drafts.listed(identity, asked)


async def _schedule(chat: ChatState, identity: Identity, said: ScheduleMessage) -> None:
    await scheduled_messages.schedule(chat.reads, identity, said, chat.own.max_body)


async def _unschedule(chat: ChatState, identity: Identity, said: CancelScheduled) -> None:
    await scheduled_messages.cancel(chat.reads, identity, said)


async def _scheduled(chat: ChatState, identity: Identity, asked: ListScheduled) -> ScheduledMessages:
    return await scheduled_messages.listed(chat.reads, identity, asked)


async def _read_thread(chat: ChatState, identity: Identity, said: MarkThreadRead) -> ThreadReadState:
    return await chat.own.thread_cursors.read(identity, said)


async def _threads(chat: ChatState, identity: Identity, asked: ListThreads) -> ThreadPage:
    return await thread_list.page(chat.reads, identity, asked)


async def _commands(chat: ChatState, identity: Identity, asked: ListCommands) -> OfferedCommands:
    return await offered.page(chat.reads, chat.bus, identity, asked)


async def _set_commands(chat: ChatState, identity: Identity, said: SetCommands) -> None:
    await offered.register(chat.reads, identity, said)


async def _invoke(chat: ChatState, identity: Identity, asked: InvokeCommand) -> CommandOutcome:
    return await chat.own.invocations.invoke(identity, asked)


async def _invocations(chat: ChatState, identity: Identity, asked: ListInvocations) -> WaitingInvocations:
    return await chat.own.invocations.waiting(identity, asked)


async def _defer(chat: ChatState, identity: Identity, said: DeferReply) -> AskedOfBot:
    return await chat.own.invocations.defer(identity, said)


async def _reply(chat: ChatState, identity: Identity, said: ReplyToCommand) -> CommandOutcome:
    return await chat.own.invocations.reply(identity, said)


OWN_ROUTES: tuple[OwnRoute, ...] = (
    OwnRoute("read", MarkRead, ReadState, "POST", "/rooms/{room}/read", "Say how far one has read a room.", _read),
    OwnRoute(
        "unread.mark", MarkUnread, ReadState, "POST", "/rooms/{room}/unread",
        "Mark a room as unread from an event on.", _mark_unread,
    ),
    OwnRoute(
        "receipts", GetReceipts, Receipts, "GET", "/rooms/{room}/receipts",
        "How far others have read a room.", _receipts,
    ),
    OwnRoute(
        "rooms", ListMyRooms, RoomListPage, "GET", "/me/rooms",
        "The rooms one is in or invited to, the most active first, with what is unread.", _rooms,
    ),
    OwnRoute(
        "unread", ListUnread, UnreadPage, "GET", "/me/unread",
        "How much is unread in each room one is in.", _unread,
    ),
    OwnRoute(
        "preferences", GetPreferences, Preferences, "GET", "/me/preferences",
        "What one has set for oneself.", _preferences,
    ),
    OwnRoute(
        "preferences.update", SetPreferences, Preferences, "POST", "/me/preferences",
        "Change what one has set.", _set_preferences,
    ),
    OwnRoute(
        "notification.level", SetLevel, None, "POST", "/rooms/{room}/level",
        "Set of what in a room one is notified.", _set_level,
    ),
    OwnRoute(
        "notifications", ListNotifications, NotificationPage, "GET", "/me/notifications",
        "What one was told, the newest first.", _notifications,
    ),
    OwnRoute(
        "notification.read", ReadNotifications, NotificationsRead, "POST", "/me/notifications/read",
        "Say which notifications one has read.", _read_notifications,
    ),
    OwnRoute("push.key", GetPushKey, PushKey, "GET", "/me/push", "The key that browsers subscribe with.", _push_key),
    OwnRoute("push.subscribe", SubscribePush, None, "POST", "/me/push", "Push to a browser.", _subscribe),
    OwnRoute(
        "push.unsubscribe", UnsubscribePush, None, "POST", "/me/push/remove", "Do not push to a browser any more.",
        _unsubscribe,
    ),
    OwnRoute("draft.put", PutDraft, None, "POST", "/rooms/{room}/draft", "Keep what one is writing.", _put_draft, True),
    OwnRoute("drafts", ListDrafts, StoredDrafts, "GET", "/me/drafts", "What one is writing anywhere.", _drafts),
    OwnRoute(
        "message.schedule", ScheduleMessage, None, "POST", "/me/scheduled", "Send a message later.",
        _schedule, True, True,
    ),
    OwnRoute(
        "message.unschedule", CancelScheduled, None, "POST", "/me/scheduled/{id}/cancel",
        "Do not send a scheduled message.", _unschedule, True,
    ),
    OwnRoute(
        "scheduled", ListScheduled, ScheduledMessages, "GET", "/me/scheduled", "What one has scheduled.", _scheduled
    ),
    OwnRoute(
        "thread.read", MarkThreadRead, ThreadReadState, "POST", "/rooms/{room}/threads/{thread}/read",
        "Say how far one has read a thread that one follows.", _read_thread,
    ),
    OwnRoute(
        "threads", ListThreads, ThreadPage, "GET", "/me/threads",
        "The threads one follows, the most active first, with what is unread.", _threads,
    ),
    OwnRoute(
        "commands", ListCommands, OfferedCommands, "GET", "/rooms/{room}/commands",
        "The slash commands that one may use in a room.", _commands,
    ),
    OwnRoute(
        "commands.set", SetCommands, None, "POST", "/me/commands", "Set the slash commands that one offers, for bots.",
        _set_commands, True, True,
    ),
    OwnRoute(
        "command.invoke", InvokeCommand, CommandOutcome, "POST", "/rooms/{room}/commands/{name}",
        "Ask a bot by a slash command, or what became of it.", _invoke, True, True,
    ),
    OwnRoute(
        "invocations", ListInvocations, WaitingInvocations, "GET", "/me/invocations",
        "What users asked and waits for an answer, for bots.", _invocations,
    ),
    OwnRoute(
        "command.defer", DeferReply, AskedOfBot, "POST", "/me/invocations/{invocation}/defer",
        "Say that an answer takes longer, for bots.", _defer, True, True,
    ),
    OwnRoute(
        "command.reply", ReplyToCommand, CommandOutcome, "POST", "/me/invocations/{invocation}/reply",
        "Answer what a user asked, for bots.", _reply, True, True,
    ),
)  # fmt: skip

OWN_EVENTS: dict[str, Any] = {
    "read": ReadChange,
    NOTIFICATION: ClientEvent[NotificationData],
    "notification.read": NotificationsRead,
    "draft": StoredDraft,
    "scheduled": ScheduledOutcome,
    "thread.read": ThreadReadChange,
    "command.invoked": AskedOfBot,
    "invocation": CommandOutcome,
}
"""Events that are sent to a user's own connections, or to those who look at receipts."""
