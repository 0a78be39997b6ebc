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
