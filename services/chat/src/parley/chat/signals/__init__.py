"""What is said in rooms and is in no log: who types, and who is there.

Read `room_places` (whether a user may do either), `present_members` (who is there now), then `room_signals`.
"""
