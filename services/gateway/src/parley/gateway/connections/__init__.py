"""Who is here: `connection` is one socket in one namespace, and `registry` finds them by sid, user and namespace.

Both are pure. What moves a connection from state to state is `parley.gateway.lifecycle`.
"""
