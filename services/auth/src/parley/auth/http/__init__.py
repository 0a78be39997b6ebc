"""What people, bots and administrators ask: `endpoints`, `own_sessions`, `me`, `bots`, `login_gate`, then `admin`."""
