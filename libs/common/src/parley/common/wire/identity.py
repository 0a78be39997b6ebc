"""Who somebody is, and the request that asks auth."""

from __future__ import annotations

from parley.common.wire.codec import Wire


class Identity(Wire, frozen=True):
    """Who a connection or a request is: what a token proved, and nothing a client could claim by itself."""

    user_id: str
    name: str
    roles: tuple[str, ...] = ()
    issued_at: float = 0.0
    """Unix seconds at which the token was issued; a later revocation refuses it."""
    expires_at: float = 0.0
    """Unix seconds at which the token ends; 0 for who has none (guests)."""
    session: str = ""
    """The session that the token is of; empty for guests and for users who log in elsewhere."""
    valid_for: float = 0.0
    """Seconds for which the token was still good when auth answered: no clock but auth's own is needed for it."""

    @property
    def is_admin(self) -> bool:
        """Whether the admin API is open to this identity."""
        return "admin" in self.roles


class Authenticate(Wire, frozen=True):
    """Ask auth who the bearer of a token is, and whether they are welcome.

    An empty token with `guest` asks for a guest identity.
    """

    token: str
    guest: bool = False


class HeldUser(Wire, frozen=True):
    """A user whom a gateway has let in: with a token issued at `issued_at`, and registered `age` seconds ago.

    It is an age because the clocks of two machines differ, and what counts is whether it is older than a kick.
    """

    user_id: str
    issued_at: float
    age: float
    session: str = ""


class CheckWelcome(Wire, frozen=True):
    """Ask auth who of these is not welcome any more. At most `MAX_CHECKED` of them."""

    held: list[HeldUser]


class Unwelcome(Wire, frozen=True):
    """One who is to be ended: its place in the question, and the code and the words that its client is told."""

    position: int
    code: str
    message: str


class UnwelcomeUsers(Wire, frozen=True):
    """Those who are not welcome any more; everybody else is."""

    users: list[Unwelcome] = []


MAX_CHECKED = 1_000
"""Users of one `CheckWelcome`, which is one statement of the database."""
