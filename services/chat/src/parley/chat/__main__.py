"""Run the chat service: `python -m parley.chat`, settings from `PARLEY_*` variables."""

from __future__ import annotations

from parley.chat.app import create_app
from parley.chat.settings import Settings
from parley.common import logs
from parley.common.http import serve

if __name__ == "__main__":
    settings = Settings()
    logs.configure(settings, "chat")
    serve(create_app(settings), settings)
