"""How events and ids are written down.

Read `room_ids`, `invite_codes`, `compact`, `event_codec`, `recorded`,
then `log_lines`.
"""
