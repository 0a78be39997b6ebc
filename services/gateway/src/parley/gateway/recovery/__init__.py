"""Connection state recovery: `packet_history` is pure, `recovery` parks lost connections and restores them."""
