"""What clients emit, to the service behind the namespace, and its acks on the way back.

`middleware` runs the gateway's packet middleware around events, where a namespace has some; `forwarder` sends them, the
commands of one loop tick together, and settles each with exactly one outcome.
"""
