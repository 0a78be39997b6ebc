"""What keeps passwords from being guessed.

`attempt_counts` counts, `login_limits` decides by it who is slowed down, `device_proofs` tells who was here before;
`hashing_queue` says who waits for what `passwords` costs.
"""
