"""Who follows the log: services of adopters, each with a place in it that Postgres keeps."""
