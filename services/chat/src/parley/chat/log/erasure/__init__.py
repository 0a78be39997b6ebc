"""Erasures in the log. Read `erasures`, `ledger`, `executor`, then `erasure_runner`, which drives them."""
