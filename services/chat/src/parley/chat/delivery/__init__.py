"""How events leave for gateways: published after their commit, or read again by those who missed them."""
