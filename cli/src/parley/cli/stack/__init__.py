"""The one-command stack. Read `stack` first: it starts the embedded servers, the services, and the project's own.

1. `data_directory` keeps the state, `embedded` runs Postgres and NATS, `stop_signals` stops everything in order.
2. `apps` builds the services, and `single_port` puts them behind one port.
3. `nats_users` and `secret_files` give each process its rights and its secrets; for other installations as well.
4. `dev_services` runs the project's own services, and `welcome` says what is there.
"""
