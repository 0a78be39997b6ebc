"""Speaks to connections on any gateway, from a service or from any other process.

Start with `emitter`, which `blocking` wraps for code that is not async. `gateway_requests` sends what they ask for, and
`gateway_registry` says which gateways have to answer. `room_publisher` is for rooms with a subject of their own.
"""
