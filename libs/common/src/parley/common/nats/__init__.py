"""The connection to NATS. Start with `bus`: it publishes, subscribes and asks, by `requests` and `subscriptions`."""
