"""The identity of a user, and the requests that gateways and services send to auth about users."""

from __future__ import annotations

from zlib import crc32

from parley.common.errors import Code, Reject
from parley.common.wire.codec import Wire
from parley.common.wire.rights import Right, right_of_roles, right_of_scopes


class Identity(Wire, frozen=True):
    """The user of a connection or a request, as proven by a token. Nothing in it is a client's mere claim."""

    user_id: str
    name: str
    roles: tuple[str, ...] = ()
    issued_at: float = 0.0
    """Unix seconds at which the token was issued. It is refused if the user's tokens were revoked after that."""
    expires_at: float = 0.0
    """Unix seconds at which the token expires; 0 for guests, who have none."""
    login: str = ""
    """What began the token, and ends it: the id of a session of auth's, or of an API key.

    Empty for guests, and for users whose tokens others issue.
    """
    valid_for: float = 0.0
    """Seconds until the token expires, counted from auth's reply, so that the receiver's clock does not matter."""
    suspended: bool = False
    """Whether it may read only."""
    suspended_for: float = 0.0
    """Seconds until that ends, as auth saw it; 0 where nothing but an administrator ends it."""
    scopes: tuple[str, ...] | None = None
    """What the token is good for, such as `chat:read`; None for one that is good for whatever its user may."""
    kicks: int = -1
    """How often its user had been kicked when auth looked: whoever was let in before a kick says a smaller number.

    Unlike times, numbers cannot be taken one for the other, however close a login and a kick are. -1: auth did not say.
    """

    @property
    def right(self) -> Right | None:
        """The administrator's right that it has: what its roles give, its token is good for, and a suspension leaves.

        None for who is no administrator.
        """
        given = right_of_roles(self.roles)
        if given is None or self.scopes is None:
            right = given
        else:
            scoped = right_of_scopes(self.scopes)
            # The lesser of both: a key lets its owner's roles count, and never adds to them.
            right = None if scoped is None else min(given, scoped)
        # A suspended administrator may look, so that they can find out why; they change nothing.
        return Right.READ if right is not None and self.suspended else right

    def may(self, right: Right) -> bool:
        """Whether an administrator's right, or a greater one, is theirs."""
        return self.right is not None and self.right >= right

    @property
    def is_admin(self) -> bool:
        """Whether it may do whatever an administrator can: see `may` for those who may less."""
        return self.may(Right.FULL)

    def refusal(self, area: str, *, writes: bool, own: bool = False) -> Reject | None:
        """Why it may not write, or read, in an area, which is what scopes are named by; None if it may.

        `own` says that nothing is changed but what is the user's alone, or that it protects them from others: who is
        suspended may do that, and whoever looks on in their place may not. Without `writes`, a token that is good for
        reading is good for it.
        """
        if writes and not own and self.suspended:
            return Reject(Code.SUSPENDED)
        if self.scopes is None:
            return None
        needed = f"{area}:{'write' if writes else 'read'}"
        if needed in self.scopes:
            return None
        # `own` without `writes` is such as a read marker: whoever looks on must leave none.
        if self.looks_on and not writes:
            return Reject(Code.FORBIDDEN, "Who looks on changes nothing of whom they look on for.") if own else None
        return Reject(Code.FORBIDDEN, f"This token lacks the scope {needed}.")

    @property
    def looks_on(self) -> bool:
        """Whether this is an administrator who sees what the user sees, and not the user."""
        return self.scopes is not None and READ_EVERYTHING in self.scopes

    @property
    def digest(self) -> int:
        """A number that nearly always changes with what auth may change while a connection lasts."""
        # NUL parts them, since neither names nor roles have one: `ab`, `c` is not `a`, `bc`.
        return crc32("\0".join((self.name, *self.roles)).encode("utf-8", "surrogatepass"))


READ_EVERYTHING = "*:read"
"""The scope that stands for reading in every area, and for nothing that administrators do."""


def area_of(namespace: str) -> str:
    """What scopes call a namespace: its name without the slash; `main` for `/` itself."""
    return namespace.strip("/") or "main"


class Authenticate(Wire, frozen=True):
    """Ask auth for the identity in a token, and whether the user is welcome.

    With `guest`, and an empty token, it asks for the identity of a new guest. The token may be an API key as well.
    """

    token: str
    guest: bool = False
    address: str = ""
    """Where they come from, if that is known; nobody is let in from a banned range."""


class HeldUser(Wire, frozen=True):
    """A user whom a gateway has let in with a token issued at `issued_at` (Unix seconds), `age` seconds ago.

    It is an age, and not a time, because the clocks of two machines differ. A kick was later if `kicks` says so, or the
    age: one who was recovered is as old as their connection, whenever auth was asked who they are.
    """

    user_id: str
    issued_at: float
    age: float
    login: str = ""
    suspended: bool = False
    digest: int = 0
    """Its identity's `digest`, so that only what has changed is answered."""
    kicks: int = -1
    """Its identity's `kicks`."""
    later: bool = False
    """Whether it is asked about what they left to be done later, and not about a connection.

    That outlives a rotation of the API key which left it, unless the secret of then was replaced without an overlap.
    """


class CheckWelcome(Wire, frozen=True):
    """Ask auth which of these users, `MAX_CHECKED` at most, are not welcome any more."""

    held: list[HeldUser]


class Unwelcome(Wire, frozen=True):
    """A user whose connections have to end: the position in the request, and what the clients are told."""

    position: int
    code: str
    message: str


class ChangedUser(Wire, frozen=True):
    """One who may stay and is not what the gateway holds them for: its place in the question, and what it is now.

    `name` and `roles` are None where they are not auth's to say: those of an adopter's user are in the token.
    """

    position: int
    suspended: bool
    suspended_for: float
    name: str | None = None
    roles: tuple[str, ...] | None = None


class UnwelcomeUsers(Wire, frozen=True):
    """The users who are not welcome any more, and those who have changed, `MAX_CHANGED` of them at most."""

    users: list[Unwelcome] = []
    changed: list[ChangedUser] = []


MAX_CHECKED = 1_000
"""Users in one `CheckWelcome`, which becomes one statement of the database."""
MAX_CHANGED = 100
"""Changed users of one answer; where there are as many there may be more, and asking again tells."""
