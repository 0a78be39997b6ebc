"""What every process has: its `settings`, `logs` of bounded lines, owned `tasks`; nothing here knows NATS or HTTP."""
