"""The rules of rooms, pure. Read `room`, which leads to `rooms`, `membership` and `messages`; then `batch`.

Each of these three holds its commands, its events, what they need, what they decide and what they make of a room.
"""
