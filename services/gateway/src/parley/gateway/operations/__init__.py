"""What services and operators do with this gateway's connections.

Read `operations`, which listens and acts, then `client_acks`, which knows which clients owe an ack of a service's emit.
"""
