"""What administrators do to users.

Reading order: `audit`, `restrictions` (bans and suspensions), `address_bans`, `kicks` and `kick_records`,
`gateway_memory`, `rotated_keys`.
"""
