"""Whose tokens are accepted, a module for each kind of proof: `own`, `shared_secret`, `published_keys`.

`tokens.configured_providers` makes them from the settings, and `tokens.verifier` chooses among them.
"""
