"""Makes a process of a service. Only the command line uses it.

1. `loading`: finds a service by the name on the command line;
2. `run`: serves it, or watches its files and serves it again after each change.
"""
