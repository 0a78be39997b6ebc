"""What commands do to a database. Read `log_connection` first.

`migrations` handles the schema, `roles` what services connect as, `incarnation` a log that was restored, `replays` the
projections, and `consumer_rows` the consumers.
"""
