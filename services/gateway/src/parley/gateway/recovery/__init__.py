"""Connection state recovery: `packet_history`, pure, knows what was sent lately; `recovery` parks lost connections.

`recovery` also asks other gateways for theirs, and answers them.
"""
