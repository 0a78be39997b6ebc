"""What people, bots and administrators ask over HTTP: `endpoints`, `own_sessions`, `me`, `login_gate`, then `admin`."""
