"""What a user has written and not sent yet.

Read `drafts`, then `scheduled_messages` (what is scheduled) and `scheduler` (which sends it).
"""
