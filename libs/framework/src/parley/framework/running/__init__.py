"""Makes a process of a service: `loading` finds it by its name, `run` serves it. Only the command line needs both."""
