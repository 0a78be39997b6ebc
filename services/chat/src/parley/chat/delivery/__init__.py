"""How events leave for gateways. Read `hints`, `publisher`, then `announcements`, `announcer`, and `room_events`.

`publisher` sends what was committed, at once; `announcer` says again what is in the log, in case a publication was
lost; `room_events` answers the gateways that fetch what they missed.
"""
