"""Accounts made here. Reading order: `passwords`, `refresh_tokens`, `attempt_throttle`, `accounts`, `first_admin`."""
