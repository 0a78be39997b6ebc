"""What became of messages, loaded and stored by the writer. `message_statements` has the SQL of `message_rows`."""
