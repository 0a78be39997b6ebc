"""What an access token proves, and how ours are made.

Reading order: `signing` (our keys), `decoding` and `claims` (what a token says), `issuer_keys` (keys of others),
`providers` (a class for each kind of proof), `verifier`, which asks them in turn, and `configured_providers`, which
makes them from the settings. `api_key` and `secret_hash`: how secrets are written that are no tokens.
"""
