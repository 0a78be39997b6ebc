"""How events and ids are written down. Read `room_ids`, `event_codec`, `recorded`; then `compact` and `log_lines`."""
