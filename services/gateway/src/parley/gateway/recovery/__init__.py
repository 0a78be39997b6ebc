"""Connection state recovery. Read `packet_history` (pure), which knows what was sent lately, then `recovery`.

`recovery` parks lost connections, asks other gateways for theirs, and answers those that ask.
"""
