"""What a user has written and not sent yet."""
