"""What chat answers: to clients over the socket, to servers over HTTP, to the admin API over NATS."""
