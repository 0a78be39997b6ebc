"""What chat answers.

Read `commands` (the table), `socket` (clients), `rest` (servers), `admin` (the admin API over NATS).
`audited` writes down what administrators do by any of them.
"""
