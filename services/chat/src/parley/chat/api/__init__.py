"""What chat answers.

Read `commands` (the table), `socket` (clients), `rest` (servers), `own_state` with `own_socket` and `own_rest` (what
users ask about themselves), `people_routes` with `people_rest` (what moderators look at, and blocks and reports),
`typed_requests` (both over HTTP), `files` (uploads and downloads), `admin` (the admin API over NATS). `audited` writes
down what administrators do by any of them.
"""
