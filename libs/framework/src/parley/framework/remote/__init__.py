"""Speaks to connections on any gateway, from a service or from any other process.

The modules, in reading order:

1. `emitter`: the API of Socket.IO's servers, and `blocking`, the same for code that is not async;
2. `gateway_requests`: sends operations to gateways and waits for their replies, which `reply_collector` counts;
3. `gateway_registry`: knows which gateways live and so have to reply;
4. `presence_requests`: has gateways show who is in a room;
5. `room_publisher`: publishes to rooms that have members, each on its own subject.
"""
