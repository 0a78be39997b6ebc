"""What a user is told of, kept for them while they are away.

Read `rules` (pure: who is notified of what and why), `inbox_store` (the statements), `inbox` (a user's own room as it
is read), and `notifier` (which follows the log). Then, for browsers: `web_push` (pure: what is sent),
`push_subscriptions` (where to), and `pusher` (when).
"""
