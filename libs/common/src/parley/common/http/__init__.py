"""Serving HTTP. Start with `server`, which reads requests under the limits of `gate`, and `api`, which answers them.

Nothing here knows what is served, nor NATS: the engine and all services build on it.
"""
