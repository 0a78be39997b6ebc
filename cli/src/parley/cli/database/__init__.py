"""What the command line does to a database: its schema, the log's incarnation, projections and consumers."""
