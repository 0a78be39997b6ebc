"""What chat answers.

Read `commands` (the table), `socket` (clients), `rest` (servers), `state_routes` (what is in no log) with its tables
`own_state` (what users ask about themselves) and `people_routes` (what moderators look at, and blocks and reports),
`state_socket` and `state_rest` (both tables over each), `typed_requests` (fields over HTTP, of all tables), `files`
(uploads and downloads), `admin` (the admin API over NATS). `audited` writes down what administrators do by any of them.
"""
