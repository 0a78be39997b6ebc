"""What is derived from the log, and how it is built anew."""
