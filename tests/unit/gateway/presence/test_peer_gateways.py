"""What is heard of other gateways: gaps show, and everything counts for a lease."""

from __future__ import annotations

from parley.common.wire.presence import LookedRooms, PresencePart, PresenceParts
from parley.gateway.presence.peer_gateways import ASK_AGAIN, FORGET_AFTER, PeerGateways, RoomKey

LEASE = 10.0
A, B, C = (RoomKey(("/chat", name)) for name in "abc")


def test_what_is_looked_at_is_counted_and_a_gap_shows_until_everything_was_heard():
    peers = PeerGateways(LEASE)
    peer = peers.hear("g", 0)
    assert peers.looks(peer, LookedRooms("g", 1, [A, B], total=2)) == ({A, B}, set(), True)
    assert peers.looks(peer, LookedRooms("g", 1, total=2)) == (set(), set(), True)
    assert peers.looks(peer, LookedRooms("g", 2, ended=[A, C], total=1)) == (set(), {A}, True)
    # The third is lost, and would be missed by a renewal as well.
    assert not PeerGateways(LEASE).looks(peers.hear("other", 0), LookedRooms("other", 1, total=1))[2]
    assert peers.looks(peer, LookedRooms("g", 4, [A], total=3)) == ({A}, set(), False)
    assert not peers.looks(peer, LookedRooms("g", 4, total=3))[2]
    assert peers.looks(peer, LookedRooms("g", 4, [A, C], whole=True, total=2)) == ({A, C}, {B}, True)
    assert peers.looks(peer, LookedRooms("g", 4, total=2))[2]
    assert peer.looks == {A, C}


def test_a_gateway_that_is_heard_of_late_is_asked_for_everything():
    peers = PeerGateways(LEASE)
    assert not peers.looks(peers.hear("g", 0), LookedRooms("g", 7, total=1))[2]


def test_a_whole_of_which_a_message_was_lost_shows_as_well():
    peers = PeerGateways(LEASE)
    peer = peers.hear("g", 0)
    peers.looks(peer, LookedRooms("g", 3, [A], whole=True, total=2))
    assert not peers.looks(peer, LookedRooms("g", 3, total=2))[2]


def test_a_lost_report_shows_at_the_next_or_at_the_renewal():
    peers = PeerGateways(LEASE)
    peer = peers.hear("g", 0)
    said = [PresencePart(*A, [])]
    assert peers.parts(peer, PresenceParts("g", 1, said))
    assert peers.parts(peer, PresenceParts("g", 1))
    # The second and the fourth are lost.
    assert not peers.parts(peer, PresenceParts("g", 3, said))
    assert peers.parts(peer, PresenceParts("g", 3))
    assert not peers.parts(peer, PresenceParts("g", 4))
    assert peers.parts(peer, PresenceParts("g", 5, said))


def test_what_a_gateway_said_counts_for_a_lease_which_all_that_it_says_renews():
    peers = PeerGateways(LEASE)
    peer = peers.hear("g", 0)
    peers.looks(peer, LookedRooms("g", 1, [A], total=1))
    peers.parts(peer, PresenceParts("g", 1, [PresencePart(*A, [])]))
    peers.hear("silent", 0)
    peers.hear("g", 8)
    assert peers.lapse(18) == []
    assert peers.lapse(18.1) == [("g", {A})]
    assert peers.lapse(18.2) == []
    # It was suspended, and does not know.
    peer = peers.hear("g", 20)
    assert not peers.looks(peer, LookedRooms("g", 1, total=1))[2]
    assert not peers.parts(peer, PresenceParts("g", 1))
    assert peers.lapse(20 + FORGET_AFTER + 1) == [("g", set())]
    assert not peers.known


def test_this_gateways_own_stall_is_nobodys_silence():
    peers = PeerGateways(LEASE)
    peers.looks(peers.hear("g", 0), LookedRooms("g", 1, [A], total=1))
    peers.spare(9)
    assert peers.lapse(19) == []
    assert peers.lapse(19.1)


def test_nobody_is_asked_all_the_time():
    peers = PeerGateways(LEASE)
    peer = peers.hear("g", 0)
    assert peers.may_ask(peer, 5)
    assert not peers.may_ask(peer, 5 + ASK_AGAIN / 2)
    assert peers.may_ask(peer, 5 + ASK_AGAIN)
