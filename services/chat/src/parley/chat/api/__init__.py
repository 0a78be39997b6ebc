"""What chat answers.

Read `commands` (the table), `socket` (clients), `rest` (servers), `own_state` with `own_socket` and `own_rest` (what
users ask about themselves), `admin` (the admin API over NATS).
"""
