"""Commands that run Parley, `up`, or prepare an installation: its `secrets`, and what NATS allows by `nats_config`."""
