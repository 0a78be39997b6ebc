"""What administrators do to users. Reading order: `bans`, `kicks`, `audit`, `gateway_memory`."""
