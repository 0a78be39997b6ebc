"""The other gateways as presence knows them, pure: what each looks at, and until when what it said counts.

Whatever a gateway says renews its lease, and each that looks, or is looked at, says something every third of it. What
is said is numbered, so that a gap shows. A gateway is named by its address, which is of one run.

| heard of a gateway | what follows |
|---|---|
| the next number | what it says is taken over |
| the same number | it has said nothing that was not heard |
| any other number, or the first at all | something was missed: it is asked for everything |
| nothing for a lease | what it said counts no more |
"""

from __future__ import annotations

from dataclasses import dataclass, field

from parley.common.wire.presence import LookedRooms, PresenceParts

ASK_AGAIN = 1.0
"""Seconds between two questions to one gateway for everything."""
FORGET_AFTER = 600.0
"""Seconds after which a gateway that says nothing is forgotten."""

RoomKey = tuple[str, str]
"""A namespace and a room."""


@dataclass(slots=True)
class PeerGateway:
    """One run of another gateway."""

    heard: float
    looks: set[RoomKey] = field(default_factory=set[RoomKey])
    """The rooms that its connections look at."""
    looks_sequence: int | None = 0
    """The number of what it last said of these; None when what it said is not known to be all."""
    parts_sequence: int | None = 0
    """The number of what it last said of who is there."""
    unsure: set[RoomKey] = field(default_factory=set[RoomKey])
    """The rooms of which it has to say everything once more, because something was missed."""
    sent: int = 0
    """How often it was told who is here."""
    asked: float = float("-inf")


class PeerGateways:
    """All other gateways that were heard of, by address."""

    def __init__(self, lease: float) -> None:
        self._lease = lease
        self.known: dict[str, PeerGateway] = {}

    def hear(self, address: str, now: float) -> PeerGateway:
        """Renew the lease of a gateway."""
        peer = self.known.get(address)
        if peer is None:
            peer = self.known[address] = PeerGateway(now)
        peer.heard = now
        return peer

    def looks(self, peer: PeerGateway, said: LookedRooms) -> tuple[set[RoomKey], set[RoomKey], bool]:
        """Take over what a gateway looks at. Return the rooms that are new and those that are over, and if it is all.

        What it says as a whole is new in every room: it may have lost what it knew.
        """
        begun, ended = set(said.begun), set(said.ended)
        if said.whole:
            ended = peer.looks - begun
            peer.looks, peer.looks_sequence = begun, said.sequence
            return begun, ended, True
        # The second and later messages of a whole have the number of the first.
        numbers = {0, 1} if begun or ended else {0}
        complete = peer.looks_sequence is not None and said.sequence - peer.looks_sequence in numbers
        peer.looks_sequence = said.sequence if complete else None
        peer.looks |= begun
        ended &= peer.looks
        peer.looks -= ended
        if complete and not begun and not ended and len(peer.looks) != said.total:
            # What it said as a whole came in several messages, of which one was lost.
            peer.looks_sequence, complete = None, False
        return begun, ended, complete

    @staticmethod
    def parts(peer: PeerGateway, said: PresenceParts) -> bool:
        """Count what a gateway says of who is there. Returns whether nothing was missed before it."""
        complete = peer.parts_sequence is not None and said.sequence == peer.parts_sequence + bool(said.parts)
        peer.parts_sequence = said.sequence
        return complete

    @staticmethod
    def may_ask(peer: PeerGateway, now: float) -> bool:
        """Return whether a gateway may be asked for everything, and count that."""
        if now - peer.asked < ASK_AGAIN:
            return False
        peer.asked = now
        return True

    def spare(self, seconds: float) -> None:
        """Give every gateway more time, because this process stood still, and has not read yet what they said."""
        for peer in self.known.values():
            peer.heard += seconds

    def lapse(self, now: float) -> list[tuple[str, set[RoomKey]]]:
        """Return the gateways whose lease is over, each with the rooms that it looked at. What they said is dropped."""
        lapsed: list[tuple[str, set[RoomKey]]] = []
        for address, peer in list(self.known.items()):
            silent = now - peer.heard
            if silent > FORGET_AFTER:
                del self.known[address]
            if silent <= self._lease:
                continue
            if peer.looks or peer.parts_sequence:
                lapsed.append((address, peer.looks))
            if peer.looks:
                # It may live and look on, so whatever it says next has to be asked about.
                peer.looks, peer.looks_sequence = set(), None
            if peer.parts_sequence:
                peer.parts_sequence = None
        return lapsed
