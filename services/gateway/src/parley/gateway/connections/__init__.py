"""Who is here: `connection`, the `registry` of all of them, and `rate_limiter`."""
