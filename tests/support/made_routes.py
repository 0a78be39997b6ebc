"""What FastAPI makes of a route for each app that includes it, made once for all of a process."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from fastapi.routing import APIRoute, _EffectiveRouteContext, _RouterIncludeContext


@contextmanager
def sharing_routes() -> Generator[None]:
    """Apps share it until the end of the block: each makes it anew at its first request, which takes 150 ms of auth."""
    made: dict[tuple[int, str, tuple[Any, ...]], _EffectiveRouteContext] = {}
    make = _EffectiveRouteContext.from_api_route

    def from_api_route(*, original_route: APIRoute, include_context: _RouterIncludeContext) -> _EffectiveRouteContext:
        if "<locals>" in original_route.endpoint.__qualname__:  # of one app alone
            return make(original_route=original_route, include_context=include_context)
        # What is made keeps its route, so that no other one gets its number.
        key = id(original_route), include_context.prefix, tuple(include_context.dependencies)
        if key not in made:
            of_no_app = replace(include_context, dependency_overrides_provider=None)
            made[key] = make(original_route=original_route, include_context=of_no_app)
        return made[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_EffectiveRouteContext, "from_api_route", from_api_route)
        yield
