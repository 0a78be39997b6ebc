"""What a user has read, and the list of rooms that follows from it.

Read `latest_values` (pure: one write per key and second), `read_store` (the statements), `read_cursors` (both together,
with who is told), `receipts` (how far others have read), `room_list` (all rooms of a user in one statement),
`unread_counts` (the numbers of all of them alone), `thread_store`, `thread_cursors` and `thread_list` (the same for the
threads that one follows), and `preferences`.
"""
