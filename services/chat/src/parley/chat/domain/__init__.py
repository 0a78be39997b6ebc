"""The rules of rooms, pure. Read `commands`, `events`, `room`, then `batch`, which decides many at once."""
