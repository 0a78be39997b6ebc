"""Commands for who writes a service: `new` begins one, `run` runs it, `routes` and `asyncapi` describe it."""
