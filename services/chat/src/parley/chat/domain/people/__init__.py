"""What people are to each other in rooms, and what they may do to each other. All of it is pure.

Read `direct` (rooms between a few people), `invites` (links into rooms), `authority` (who may what), `moderation`
(removing, banning and muting members), and `slow_mode`.
"""
