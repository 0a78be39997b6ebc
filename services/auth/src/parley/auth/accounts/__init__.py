"""Accounts made here.

Start with `accounts`, which registers people and logs them in: all before it is what it needs for that.

1. Who is slowed down: `attempt_counts` counts, `login_limits` decides by it, `device_proofs` tells who was here before.
2. `hashing_queue` and `passwords`: what a password costs, and who waits for it.
3. `sessions` with `refresh_seal` and `device_names`: what a login begins, and how its tokens go on.
4. `accounts`; `first_admin` makes the one account that nobody registers.
5. What people do with their own: `own_account`, `deletions`, `data_export`.
6. What others use: `bots` with their `api_keys`, and `view_tokens`, by which an administrator looks on.
"""
