"""What an access token proves, and how ours are made. Reading order: `signing`, `providers`, `verifier`."""
