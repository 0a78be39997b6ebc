"""Accounts made here.

Start with `accounts`, which registers people and logs them in: all before it is what it needs for that.

1. `guessing`: what a password costs, and who is slowed down.
2. `sessions`: what a login begins, and how its tokens go on.
3. `accounts`; `first_admin` makes the one account that nobody registers.
4. What people do with their own: `own_account`, `deletions`, `data_export`.
5. `programs`: bots, and the keys that they come with.
"""
