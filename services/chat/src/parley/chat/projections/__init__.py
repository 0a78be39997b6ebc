"""How projections are checked and built anew from the log. Read `replay`, `verify`, then `rebuild`."""
