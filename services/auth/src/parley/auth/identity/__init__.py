"""Whose token or key this is, and whether they are welcome: what gateways ask.

Reading order: `authenticator`, `key_verifier`, `responders`.
"""
