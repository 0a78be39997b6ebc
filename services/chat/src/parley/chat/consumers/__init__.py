"""Handing the log over to services. Read `pattern`, `pace`, `store`, then `runner`, which uses them all."""
