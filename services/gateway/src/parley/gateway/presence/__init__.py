"""Who is in the rooms that somebody looks at. Of all other rooms nothing is computed, kept or published.

Read the modules in this order:

1. `user_states`: what users chose by hand, and what they are by their connections here;
2. `looked_room`: a room that connections here look at, as they have been told of it;
3. `lookers`: the connections that look, and how often they may;
4. `reported_room`: a room that is looked at on whichever gateway, as this one has told of its own connections;
5. `peer_gateways`: what was heard of the other gateways, and until when it counts.

All of these are pure.

6. `room_reports`: what this gateway tells all that look, of its own connections;
7. `shown_rooms`: what it shows its own connections, of all gateways;
8. `room_presence`, which puts them together and speaks with the other gateways.
"""
