"""The admin API.

1. `rights` says who may what, `parameters` what endpoints take, and `routes` what the API consists of.
2. About one user: `users` with `user_details`, `moderation`, `credentials`, `erasure`; about many: `bulk`.
3. About programs: `api_keys`; about what is live: `connections`; about rooms: `rooms`; about all of these: `audit`.
"""
