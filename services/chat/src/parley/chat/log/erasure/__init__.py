"""Erasures in the log.

Read `erasures`, `ledger`, `people_rows` and `own_rows` (what is in no log), `erasure_statements` with `executor`, then
`erasure_runner`, which drives them.
"""
