"""The closed table of disconnect reasons, the same in gateways, services, the testing kit and docs/protocol.md.

A reason says why a connection ended: to `disconnect` controllers, to connection middleware as `reason`, in metrics and
logs. Reasons that are also error codes (`errors.Code`) have the same text. One may be added, never renamed.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class DisconnectReason(StrEnum):
    """Every reason for which a connection, or the Engine.IO session under it, ends."""

    CLIENT_LEFT = "client namespace disconnect"
    TRANSPORT_CLOSE = "transport close"
    TRANSPORT_ERROR = "transport error"
    PING_TIMEOUT = "ping timeout"
    PARSE_ERROR = "parse error"
    MESSAGE_TOO_BIG = "message too big"
    TOO_MANY_PACKETS = "too many packets"
    ATTACHMENTS = "attachments"
    SLOW = "slow"
    RATE_LIMITED = "rate_limited"
    OVERLOADED = "overloaded"
    CONNECT_TIMEOUT = "connect_timeout"
    UNAVAILABLE = "unavailable"
    TIMEOUT = "timeout"
    INTERNAL = "internal"
    REFUSED = "refused"
    SERVER_DISCONNECT = "server disconnect"
    KICKED = "kicked"
    BANNED = "banned"
    REVOKED_TOKEN = "revoked_token"
    INVALID_TOKEN = "invalid_token"
    EXPIRED_TOKEN = "expired_token"
    REPLACED = "replaced"
    SHUTDOWN = "shutdown"
    GATEWAY_GONE = "gateway gone"


class Disconnect(NamedTuple):
    """What a reason means: in words, and whether the client may come back to what it had (state recovery)."""

    meaning: str
    recoverable: bool = False


DISCONNECTS: dict[DisconnectReason, Disconnect] = {
    DisconnectReason.CLIENT_LEFT: Disconnect("The client left the namespace."),
    DisconnectReason.TRANSPORT_CLOSE: Disconnect("The client closed the transport, or its network did.", True),
    DisconnectReason.TRANSPORT_ERROR: Disconnect("The transport failed.", True),
    DisconnectReason.PING_TIMEOUT: Disconnect("The client did not answer a heartbeat in time.", True),
    DisconnectReason.PARSE_ERROR: Disconnect("The client sent what is no packet."),
    DisconnectReason.MESSAGE_TOO_BIG: Disconnect("The client sent a message above the size limit."),
    DisconnectReason.TOO_MANY_PACKETS: Disconnect("The client sent too many packets in one polling request."),
    DisconnectReason.ATTACHMENTS: Disconnect("The client sent too many attachments, or too much in them."),
    DisconnectReason.SLOW: Disconnect("The client read slower than it was sent to.", True),
    DisconnectReason.RATE_LIMITED: Disconnect("The client went on sending faster than allowed."),
    DisconnectReason.OVERLOADED: Disconnect("The gateway had no memory left for what the client or its address sent."),
    DisconnectReason.CONNECT_TIMEOUT: Disconnect("The client joined no namespace in time."),
    DisconnectReason.UNAVAILABLE: Disconnect("The service or auth could not be reached while it was let in."),
    DisconnectReason.TIMEOUT: Disconnect("The service or auth did not answer in time while it was let in."),
    DisconnectReason.INTERNAL: Disconnect("Something failed on the server."),
    DisconnectReason.REFUSED: Disconnect("It was not let in."),
    DisconnectReason.SERVER_DISCONNECT: Disconnect("A service disconnected it."),
    DisconnectReason.KICKED: Disconnect("An administrator ended it."),
    DisconnectReason.BANNED: Disconnect("Its user was banned."),
    DisconnectReason.REVOKED_TOKEN: Disconnect("Its token was revoked."),
    DisconnectReason.INVALID_TOKEN: Disconnect("Its user does not exist any more."),
    DisconnectReason.EXPIRED_TOKEN: Disconnect("Its token expired, in a namespace with `expires = true`.", True),
    DisconnectReason.REPLACED: Disconnect("The client sent CONNECT again on the same transport."),
    DisconnectReason.SHUTDOWN: Disconnect("The gateway is stopping.", True),
    DisconnectReason.GATEWAY_GONE: Disconnect("The gateway that held it is gone."),
}
"""What each reason means."""

RECOVERABLE = frozenset(reason for reason, disconnect in DISCONNECTS.items() if disconnect.recoverable)
"""Reasons after which Socket.IO's connection state recovery applies."""

KICKS = frozenset(
    {
        DisconnectReason.KICKED,
        DisconnectReason.BANNED,
        DisconnectReason.REVOKED_TOKEN,
        DisconnectReason.INVALID_TOKEN,
    }
)
"""Reasons for which an administrator ends all of a user's connections."""


def reason_of(code: str, otherwise: DisconnectReason) -> DisconnectReason:
    """The reason of this text, or another where it is none."""
    try:
        return DisconnectReason(code)
    except ValueError:
        return otherwise
