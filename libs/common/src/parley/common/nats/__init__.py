"""The connection of a process to NATS.

1. `bus`: publishes, subscribes, asks and answers;
2. `subscriptions`: nats-py's client with cheap subscriptions and gathered writes, which the bus works on;
3. `requests`: requests and answers in batches, with a `tags` table of those under way and an `outbox` of answers;
4. `liveness`: signs of life, and what a process concludes from not hearing its own;
5. `chunks`: splits batches to the broker's size, and `tally`: counters for what happens very often.
"""
