"""The closed table of error codes, for acks of commands, `connect_error`, disconnects and REST.

A code is part of the protocol: one may be added, none renamed. `retryable` tells a client that the same command, sent
again with the same `id`, may succeed.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple


class Code(StrEnum):
    """Every reason a command is rejected or a connection is refused or ended."""

    INVALID_PAYLOAD = "invalid_payload"
    PAYLOAD_TOO_LARGE = "payload_too_large"
    UNKNOWN_EVENT = "unknown_event"
    MISSING_TOKEN = "missing_token"
    INVALID_TOKEN = "invalid_token"
    EXPIRED_TOKEN = "expired_token"
    REVOKED_TOKEN = "revoked_token"
    INVALID_CREDENTIALS = "invalid_credentials"
    BANNED = "banned"
    KICKED = "kicked"
    SUSPENDED = "suspended"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    NOT_A_MEMBER = "not_a_member"
    MUTED = "muted"
    ALREADY_EXISTS = "already_exists"
    ID_CONFLICT = "id_conflict"
    ROOM_ARCHIVED = "room_archived"
    LIMIT_EXCEEDED = "limit_exceeded"
    RATE_LIMITED = "rate_limited"
    OVERLOADED = "overloaded"
    TIMEOUT = "timeout"
    UNAVAILABLE = "unavailable"
    CONNECT_TIMEOUT = "connect_timeout"
    INTERNAL = "internal"
    CONFLICT = "conflict"
    SECOND_FACTOR_REQUIRED = "second_factor_required"
    PASSWORD_CHANGE_REQUIRED = "password_change_required"
    FRESH_LOGIN_REQUIRED = "fresh_login_required"


class Meaning(NamedTuple):
    """The meaning of a code: its default message, whether to retry, and its HTTP status."""

    message: str
    retryable: bool
    status: int


MEANINGS: dict[Code, Meaning] = {
    Code.INVALID_PAYLOAD: Meaning("The payload does not have the expected shape.", False, 422),
    Code.PAYLOAD_TOO_LARGE: Meaning("The payload is larger than allowed.", False, 413),
    Code.UNKNOWN_EVENT: Meaning("The namespace has no such event.", False, 404),
    Code.MISSING_TOKEN: Meaning("An access token is required.", False, 401),
    Code.INVALID_TOKEN: Meaning("The access token is not valid.", False, 401),
    Code.EXPIRED_TOKEN: Meaning("The access token has expired.", False, 401),
    Code.REVOKED_TOKEN: Meaning("The access token was revoked.", False, 401),
    Code.INVALID_CREDENTIALS: Meaning("The username or the password is wrong.", False, 401),
    Code.BANNED: Meaning("This user is banned.", False, 403),
    Code.KICKED: Meaning("An administrator ended this connection.", False, 403),
    Code.SUSPENDED: Meaning("This user may read only, for now.", False, 403),
    Code.FORBIDDEN: Meaning("This is not allowed.", False, 403),
    Code.NOT_FOUND: Meaning("There is no such thing, or it is not visible to you.", False, 404),
    Code.NOT_A_MEMBER: Meaning("Only members of the room may do this.", False, 403),
    Code.MUTED: Meaning("You may read in this room and not write, for now.", False, 403),
    Code.ALREADY_EXISTS: Meaning("It exists already.", False, 409),
    Code.ID_CONFLICT: Meaning("This command id was used before with another body.", False, 409),
    Code.ROOM_ARCHIVED: Meaning("The room is closed; it can be read but not changed.", False, 409),
    Code.LIMIT_EXCEEDED: Meaning("A limit on how many you may have is reached.", False, 409),
    Code.RATE_LIMITED: Meaning("Too many requests; slow down.", True, 429),
    Code.OVERLOADED: Meaning("The server has more work than it can take; try again.", True, 503),
    Code.TIMEOUT: Meaning("There was no answer in time; try again with the same id.", True, 504),
    Code.UNAVAILABLE: Meaning("The service cannot be reached now; try again.", True, 503),
    Code.CONNECT_TIMEOUT: Meaning("No namespace was joined in time.", True, 408),
    Code.INTERNAL: Meaning("Something failed on the server; it has been logged.", True, 500),
    Code.CONFLICT: Meaning("Somebody else has changed it meanwhile; look at it again.", False, 409),
    Code.SECOND_FACTOR_REQUIRED: Meaning("The password was right; a second factor is needed as well.", False, 401),
    Code.PASSWORD_CHANGE_REQUIRED: Meaning("The password has to be changed before you are let in.", False, 403),
    Code.FRESH_LOGIN_REQUIRED: Meaning("This login is too old for that; log in again.", False, 403),
}


def known_code(text: str, otherwise: Code) -> Code:
    """Return the code of this name, or `otherwise` when a newer process named one that is not in this table."""
    try:
        return Code(text)
    except ValueError:
        return otherwise


class Reject(Exception):
    """Refuses a command or a connection with a code that the client is told.

    Attributes: `code`, `message` (for people; the table's text by default), `retryable`, and `data`: any JSON that the
    client is told as well, or None.
    """

    def __init__(
        self,
        code: Code,
        message: str | None = None,
        *,
        retryable: bool | None = None,
        data: Mapping[str, Any] | None = None,
    ) -> None:
        meaning = MEANINGS[code]
        self.code = code
        self.message = message or meaning.message
        self.retryable = meaning.retryable if retryable is None else retryable
        self.data = data
        super().__init__(f"{code}: {self.message}")

    @property
    def status(self) -> int:
        """The HTTP status of this rejection."""
        return MEANINGS[self.code].status

    def as_dict(self) -> dict[str, Any]:
        """Return the `error` object of acks, `connect_error.data` and REST: `{code, message, retryable, data?}`."""
        error: dict[str, Any] = {"code": str(self.code), "message": self.message, "retryable": self.retryable}
        return error if self.data is None else error | {"data": self.data}
