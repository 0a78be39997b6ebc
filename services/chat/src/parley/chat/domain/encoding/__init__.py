"""How events and ids are written down. Read `room_ids`, `compact`, `event_codec`, `recorded`, then `log_lines`."""
