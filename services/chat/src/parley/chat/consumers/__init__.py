"""Handing the log over. Read `pattern`, `pace`, `recipients`, `store`, then `runner`, which uses them all."""
