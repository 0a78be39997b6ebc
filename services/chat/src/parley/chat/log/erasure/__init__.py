"""Erasures in the log. Read `erasures`, then `executor`, then `ledger`, and `erasure_runner`, which drives them."""
