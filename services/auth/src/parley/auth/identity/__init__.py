"""Whose token this is, and whether they are welcome: what gateways ask. First `authenticator`, then `responders`."""
