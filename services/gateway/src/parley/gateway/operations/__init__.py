"""What services and operators have done with this gateway's connections.

`operations` hears it and does it; `client_acks` keeps which clients owe an ack of an emit, and reports their answers.
"""
