"""What clients emit, on its way to the service, and its acks on the way back.

Read `forwarder` first: it sends the commands of one turn of the loop together and settles each with exactly one
outcome. `event_middleware` runs the gateway's packet middleware before it, in namespaces that have some.
`command_budget` bounds what all connections together have waiting in both.
"""
