"""`python -m parley.cli`: the `parley` command of this very environment."""

import sys

try:
    from parley.cli.main import app
except (
    KeyboardInterrupt
):  # the watcher of the code (`parley run --reload`) may end a process while it is still importing
    sys.exit(130)

app(prog_name="parley")
