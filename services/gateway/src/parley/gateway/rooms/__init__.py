"""Room events to connections.

To be read in this order: `cursor` (a room's events in order), `member_state` and `local_room` (who gets them), pure;
`delivery` (to live members), `repair` and `catch_up` (from the log, read by `log_reader`), `heads` (what is the last
event?), `memory` (what was heard of joins and leaves), and `fanout`, which puts them together.
"""
