"""What a user is told of, kept for them while they are away."""
