"""What is read of the log and its projections.

Read `visibility`, `pages`, `current` (messages as they are now), then `rooms`, `members`, `history`, `pinned`,
`reactors`, `sync`, `user_events` and `kept`.

Each of the last eight is one feature as a set of functions. What a user may not see does not exist for them
(`visibility`). Every statement names its rooms by key and looks each of them up in a subquery of its own, which the
planner cannot turn into a join of whole tables, however large it believes them to be.
"""
