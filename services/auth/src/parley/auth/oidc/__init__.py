"""Logins at OpenID Connect providers."""
