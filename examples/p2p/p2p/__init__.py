"""The p2p service: rooms in which clients reach each other one by one; `service` holds it."""
