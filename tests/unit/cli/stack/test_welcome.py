"""What `parley up` prints: a client that works there."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from parley.cli.stack import welcome


@pytest.mark.parametrize("registration", [True, False])
def test_the_client_registers_only_where_people_may(registration: bool):
    shown = StringIO()
    welcome.show(
        Console(file=shown, soft_wrap=True), url="http://127.0.0.1:8000", token="a.b.c", password=None,
        password_file=Path("kept"), page=True, registration=registration, seconds=1.0,
    )  # fmt: skip
    text = shown.getvalue()
    assert ("/auth/register" in text) is registration
    assert ('access_token = "a.b.c"' in text) is not registration
    assert "{login}" not in text
