"""Programs that use this server: `bots`, which belong to users, and their `api_keys`."""
