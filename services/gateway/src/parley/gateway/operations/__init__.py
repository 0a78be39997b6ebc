"""What services and operators do with this gateway's connections."""
