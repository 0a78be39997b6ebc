"""Letting connections in: `admission`, with the `handshake` and the connection `middleware`."""
