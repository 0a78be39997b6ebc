"""What the protocols' own test suites are run against: see `server`."""
