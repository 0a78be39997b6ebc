"""The wire types: what travels on NATS between Parley's processes, a module per conversation.

Payloads that come from or go to a client stay the JSON bytes they were; the service behind the namespace decodes them
once. Start with `commands` and `rooms`; `codec` is the ground.
"""
