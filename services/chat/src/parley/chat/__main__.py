"""`python -m parley.chat`: run the chat service until SIGTERM."""

from __future__ import annotations

from parley.chat.app import create_app
from parley.chat.settings import ChatSettings
from parley.common import run_process

if __name__ == "__main__":
    run_process.main(
        "chat",
        "Parley's chat service: rooms, messages and their log. Needs Postgres and NATS.",
        ChatSettings,
        create_app,
    )
