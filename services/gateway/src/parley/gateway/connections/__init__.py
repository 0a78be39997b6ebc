"""Who is connected.

Read `connection` (one client in one namespace), then `connection_registry`, which finds connections.

Both are pure. `parley.gateway.lifecycle` moves a connection from state to state.
"""
