"""Whose tokens are accepted, a module for each kind of proof; `verifier` chooses among them."""
