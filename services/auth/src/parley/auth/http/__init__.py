"""What people, bots and administrators ask over HTTP: `endpoints`, then `admin`."""
