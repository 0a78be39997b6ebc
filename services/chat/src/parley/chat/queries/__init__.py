"""Reads of the log and of its projections, as users may see them."""
