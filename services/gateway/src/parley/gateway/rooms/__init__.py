"""Room events to connections.

Read the modules in this order:

1. `cursor` (a room's events in order), `member_state` and `local_room` (who receives them), all pure.
2. `room_registry`: the rooms with members here, and their subscriptions.
3. `delivery`: events to live members. `gathering`: those of a storm a moment later, together.
4. `log_reader`, then `repair` and `catch_up`: what this gateway missed, and what one member missed.
5. `heads` and `announcement_log`: how far the rooms are, and whether anything was missed.
6. `memory`: what a connection heard of its joins and leaves; `membership_hints`: what of it is believed.
7. `fanout`, which puts them together.
"""
