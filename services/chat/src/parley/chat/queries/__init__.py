"""What is read of the log and its projections, by feature: `rooms`, `members`, `history`, `sync`; each as functions.

What a user may not see does not exist for them (`visibility`). Every statement names its rooms by key and looks each
up in a subquery of its own, which the planner cannot turn into a join of whole tables, however large it takes them for.
"""
