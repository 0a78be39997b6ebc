"""`parley run`: run a service as a process."""

from __future__ import annotations

from typing import Annotated

import typer

from parley.cli.options import ServiceName, load
from parley.framework.running.run import serve, watch


def run(
    name: ServiceName,
    *,
    reload: Annotated[
        bool,
        typer.Option("--reload", help="Start again whenever its code changes; other services do not."),
    ] = False,
) -> None:
    """Run a service until it is stopped, with /healthz, /readyz and /metrics. Settings come from PARLEY_*."""
    if reload:
        # It is not loaded here, so that code that cannot be loaded is started again once it has changed.
        watch(name.partition(":")[0])
        return
    try:
        service = load(name)
    except KeyboardInterrupt as interrupt:
        # Ctrl-C, or the watcher of the code, may come while the code is being loaded.
        raise typer.Exit(130) from interrupt
    serve(service)
