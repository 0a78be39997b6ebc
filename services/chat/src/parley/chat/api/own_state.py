"""The table of what users ask and say about themselves alone: none of it is in a log, and each needs no `id`."""

from __future__ import annotations

from typing import Any

from parley.chat.api.state_routes import StateRoute, on_own, on_reads
from parley.chat.api.state_socket import look_at_receipts
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


async def _push_key(chat: ChatState, _identity: Identity, _asked: GetPushKey, _correlation: str) -> PushKey:
    return PushKey(push_subscriptions.require_signer(chat.own.signer).public)


async def _subscribe(chat: ChatState, identity: Identity, said: SubscribePush, _correlation: str) -> None:
    push_subscriptions.require_signer(chat.own.signer)
    await push_subscriptions.subscribe(chat.reads, identity, said)


async def _schedule(chat: ChatState, identity: Identity, said: ScheduleMessage, _correlation: str) -> None:
    await scheduled_messages.schedule(chat.reads, identity, said, chat.own.max_body)


async def _commands(chat: ChatState, identity: Identity, asked: ListCommands, _correlation: str) -> OfferedCommands:
    return await offered.page(chat.reads, chat.bus, identity, asked)


OWN_ROUTES: tuple[StateRoute, ...] = (
    StateRoute(
        "read", MarkRead, ReadState, "POST", "/rooms/{room}/read",
        "Say how far one has read a room.", on_own(lambda own: own.cursors.read),
    ),
    StateRoute(
        "unread.mark", MarkUnread, ReadState, "POST", "/rooms/{room}/unread",
        "Mark a room as unread from an event on.", on_own(lambda own: own.cursors.mark_unread),
    ),
    StateRoute(
        "receipts", GetReceipts, Receipts, "GET", "/rooms/{room}/receipts",
        "How far others have read a room.", on_reads(receipts.receipts), over_socket=look_at_receipts,
    ),
    StateRoute(
        "rooms", ListMyRooms, RoomListPage, "GET", "/me/rooms",
        "The rooms one is in or invited to, the most active first, with what is unread.", on_reads(room_list.room_list),
    ),
    StateRoute(
        "unread", ListUnread, UnreadPage, "GET", "/me/unread",
        "How much is unread in each room one is in.", on_reads(unread_counts.unread_counts),
    ),
    StateRoute(
        "preferences", GetPreferences, Preferences, "GET", "/me/preferences",
        "What one has set for oneself.", on_reads(preferences.get),
    ),
    StateRoute(
        "preferences.update", SetPreferences, Preferences, "POST", "/me/preferences",
        "Change what one has set.", on_reads(preferences.update),
    ),
    StateRoute(
        "notification.level", SetLevel, None, "POST", "/rooms/{room}/level",
        "Set of what in a room one is notified.", on_reads(preferences.set_level),
    ),
    StateRoute(
        "notifications", ListNotifications, NotificationPage, "GET", "/me/notifications",
        "What one was told, the newest first.", on_reads(inbox.page),
    ),
    StateRoute(
        "notification.read", ReadNotifications, NotificationsRead, "POST", "/me/notifications/read",
        "Say which notifications one has read.", on_own(lambda own: own.notifier.read),
    ),
    StateRoute("push.key", GetPushKey, PushKey, "GET", "/me/push", "The key that browsers subscribe with.", _push_key),
    StateRoute("push.subscribe", SubscribePush, None, "POST", "/me/push", "Push to a browser.", _subscribe),
    StateRoute(
        "push.unsubscribe", UnsubscribePush, None, "POST", "/me/push/remove", "Do not push to a browser any more.",
        on_reads(push_subscriptions.unsubscribe),
    ),
    StateRoute(
        "draft.put", PutDraft, None, "POST", "/rooms/{room}/draft",
        "Keep what one is writing.", on_own(lambda own: own.drafts.put), True,
    ),
    StateRoute(
        "drafts", ListDrafts, StoredDrafts, "GET", "/me/drafts",
        "What one is writing anywhere.", on_own(lambda own: own.drafts.listed),
    ),
    StateRoute(
        "message.schedule", ScheduleMessage, None, "POST", "/me/scheduled", "Send a message later.",
        _schedule, True, True,
    ),
    StateRoute(
        "message.unschedule", CancelScheduled, None, "POST", "/me/scheduled/{id}/cancel",
        "Do not send a scheduled message.", on_reads(scheduled_messages.cancel), True,
    ),
    StateRoute(
        "scheduled", ListScheduled, ScheduledMessages, "GET", "/me/scheduled",
        "What one has scheduled.", on_reads(scheduled_messages.listed),
    ),
    StateRoute(
        "thread.read", MarkThreadRead, ThreadReadState, "POST", "/rooms/{room}/threads/{thread}/read",
        "Say how far one has read a thread that one follows.", on_own(lambda own: own.thread_cursors.read),
    ),
    StateRoute(
        "threads", ListThreads, ThreadPage, "GET", "/me/threads",
        "The threads one follows, the most active first, with what is unread.", on_reads(thread_list.page),
    ),
    StateRoute(
        "commands", ListCommands, OfferedCommands, "GET", "/rooms/{room}/commands",
        "The slash commands that one may use in a room.", _commands,
    ),
    StateRoute(
        "commands.set", SetCommands, None, "POST", "/me/commands", "Set the slash commands that one offers, for bots.",
        on_reads(offered.register), True, True,
    ),
    StateRoute(
        "command.invoke", InvokeCommand, CommandOutcome, "POST", "/rooms/{room}/commands/{name}",
        "Ask a bot by a slash command, or what became of it.", on_own(lambda own: own.invocations.invoke), True, True,
    ),
    StateRoute(
        "invocations", ListInvocations, WaitingInvocations, "GET", "/me/invocations",
        "What users asked and waits for an answer, for bots.", on_own(lambda own: own.invocations.waiting),
    ),
    StateRoute(
        "command.defer", DeferReply, AskedOfBot, "POST", "/me/invocations/{invocation}/defer",
        "Say that an answer takes longer, for bots.", on_own(lambda own: own.invocations.defer), True, True,
    ),
    StateRoute(
        "command.reply", ReplyToCommand, CommandOutcome, "POST", "/me/invocations/{invocation}/reply",
        "Answer what a user asked, for bots.", on_own(lambda own: own.invocations.reply), True, True,
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
