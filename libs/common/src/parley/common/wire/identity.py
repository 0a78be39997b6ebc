"""The identity of a user, and the requests that gateways and services send to auth about users."""

from __future__ import annotations

from parley.common.wire.codec import Wire


class Identity(Wire, frozen=True):
    """The user of a connection or a request, as proven by a token. Nothing in it is a client's mere claim."""

    user_id: str
    name: str
    roles: tuple[str, ...] = ()
    issued_at: float = 0.0
    """Unix seconds at which the token was issued. It is refused if the user's tokens were revoked after that."""
    expires_at: float = 0.0
    """Unix seconds at which the token expires; 0 for guests, who have none."""

    @property
    def is_admin(self) -> bool:
        """Whether this user may use the admin API."""
        return "admin" in self.roles


class Authenticate(Wire, frozen=True):
    """Ask auth for the identity in a token, and whether the user is welcome.

    With `guest`, and an empty token, it asks for the identity of a new guest.
    """

    token: str
    guest: bool = False


class HeldUser(Wire, frozen=True):
    """A user whom a gateway has let in with a token issued at `issued_at` (Unix seconds), `age` seconds ago.

    It is an age, and not a time, because the clocks of two machines differ. It tells whether a kick was later.
    """

    user_id: str
    issued_at: float
    age: float


class CheckWelcome(Wire, frozen=True):
    """Ask auth which of these users, `MAX_CHECKED` at most, are not welcome any more."""

    held: list[HeldUser]


class Unwelcome(Wire, frozen=True):
    """A user whose connections have to end: the position in the request, and what the clients are told."""

    position: int
    code: str
    message: str


class UnwelcomeUsers(Wire, frozen=True):
    """The users who are not welcome any more; all others in the request are."""

    users: list[Unwelcome] = []


MAX_CHECKED = 1_000
"""Users in one `CheckWelcome`, which becomes one statement of the database."""
