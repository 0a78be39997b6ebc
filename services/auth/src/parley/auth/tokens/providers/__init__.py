"""Where keys of tokens come from, a module each."""
