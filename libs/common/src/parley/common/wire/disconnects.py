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


class DisconnectMeaning(NamedTuple):
    """The meaning of a reason, and whether Socket.IO's connection state recovery applies after it."""

    meaning: str
    recoverable: bool = False


DISCONNECTS: dict[DisconnectReason, DisconnectMeaning] = {
    DisconnectReason.CLIENT_LEFT: DisconnectMeaning("The client left the namespace."),
    DisconnectReason.TRANSPORT_CLOSE: DisconnectMeaning("The client closed the transport, or its network did.", True),
    DisconnectReason.TRANSPORT_ERROR: DisconnectMeaning("The transport failed.", True),
    DisconnectReason.PING_TIMEOUT: DisconnectMeaning("The client did not answer a heartbeat in time.", True),
    DisconnectReason.PARSE_ERROR: DisconnectMeaning("The client sent what is no packet."),
    DisconnectReason.MESSAGE_TOO_BIG: DisconnectMeaning("The client sent a message above the size limit."),
    DisconnectReason.TOO_MANY_PACKETS: DisconnectMeaning("The client sent too many packets in one polling request."),
    DisconnectReason.ATTACHMENTS: DisconnectMeaning("The client sent too many attachments, or too much in them."),
    DisconnectReason.SLOW: DisconnectMeaning("The client read slower than it was sent to.", True),
    DisconnectReason.RATE_LIMITED: DisconnectMeaning("The client went on sending faster than allowed."),
    DisconnectReason.OVERLOADED: DisconnectMeaning(
        "The gateway had no memory left for what the client or its address sent."
    ),
    DisconnectReason.CONNECT_TIMEOUT: DisconnectMeaning(
        "The client joined no namespace in time, at first or after it had left its last."
    ),
    DisconnectReason.UNAVAILABLE: DisconnectMeaning("The service or auth could not be reached while it was let in."),
    DisconnectReason.TIMEOUT: DisconnectMeaning("The service or auth did not answer in time while it was let in."),
    DisconnectReason.INTERNAL: DisconnectMeaning("Something failed on the server."),
    DisconnectReason.REFUSED: DisconnectMeaning("It was not let in."),
    DisconnectReason.SERVER_DISCONNECT: DisconnectMeaning("A service disconnected it."),
    DisconnectReason.KICKED: DisconnectMeaning("An administrator ended it."),
    DisconnectReason.BANNED: DisconnectMeaning("Its user was banned."),
    DisconnectReason.REVOKED_TOKEN: DisconnectMeaning("Its token was revoked."),
    DisconnectReason.INVALID_TOKEN: DisconnectMeaning("Its user does not exist any more."),
    DisconnectReason.EXPIRED_TOKEN: DisconnectMeaning("Its token expired, in a namespace with `expires = true`.", True),
    DisconnectReason.REPLACED: DisconnectMeaning("The client sent CONNECT again on the same transport."),
    DisconnectReason.SHUTDOWN: DisconnectMeaning("The gateway is stopping.", True),
    DisconnectReason.GATEWAY_GONE: DisconnectMeaning("The gateway that held it is gone."),
}
"""The meaning of each reason."""

RECOVERABLE = frozenset(reason for reason, disconnect in DISCONNECTS.items() if disconnect.recoverable)
"""Reasons after which Socket.IO's connection state recovery applies."""

KICK_REASONS = frozenset(
    {
        DisconnectReason.KICKED,
        DisconnectReason.BANNED,
        DisconnectReason.REVOKED_TOKEN,
        DisconnectReason.INVALID_TOKEN,
    }
)
"""Reasons for which an administrator ends all of a user's connections."""


def reason_of(code: str, otherwise: DisconnectReason) -> DisconnectReason:
    """Return the reason of this text, or `otherwise` when there is none."""
    try:
        return DisconnectReason(code)
    except ValueError:
        return otherwise
