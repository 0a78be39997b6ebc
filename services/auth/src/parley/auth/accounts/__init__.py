"""Accounts made here.

Reading order: `attempt_counts`, `login_limits` and `device_proofs` (who is slowed down), `hashing_queue`, `passwords`,
`refresh_seal`, `device_names` and `sessions`, `accounts`, `first_admin`, `deletions`, `own_account`,
`data_export`, `bots` and `api_keys`, `view_tokens`.
"""
