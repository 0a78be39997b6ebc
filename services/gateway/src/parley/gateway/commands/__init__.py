"""From clients to services: `middleware` around events, then `forwarder`."""
