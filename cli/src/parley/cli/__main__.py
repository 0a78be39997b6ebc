"""`python -m parley.cli`: the `parley` command of this very environment."""

import sys

try:
    from parley.cli.main import app
except KeyboardInterrupt:  # from who restarts it when code has changed, which need not wait for what it starts
    sys.exit(130)

app(prog_name="parley")
