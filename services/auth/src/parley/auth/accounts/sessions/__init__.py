"""What a login begins: `sessions`, with `refresh_seal` and `device_names`.

`view_tokens` are those with which an administrator looks on.
"""
