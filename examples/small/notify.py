"""Tells a room something, once: run again with the same `--id`, it adds nothing. For cron jobs, CI and alerts."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import urllib.error
import urllib.request
from typing import Any

RETRIES = 6


def send(url: str, token: str, room: str, body: str, command_id: str) -> dict[str, Any]:
    """Send a message; what may pass is tried again, with the same id. Raises `SystemExit` with what the server said."""
    request = urllib.request.Request(
        f"{url}/api/rooms/{room}/messages",
        json.dumps({"id": command_id, "body": body}).encode(),
        {"authorization": f"Bearer {token}", "content-type": "application/json"},
    )
    problem = ""
    for attempt in range(RETRIES):
        time.sleep(2**attempt - 1)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            said = json.load(error)["error"]
            problem = f"{said['code']}: {said['message']}"
            if not said["retryable"]:
                break
        except (urllib.error.URLError, TimeoutError) as error:
            problem = str(error)
    raise SystemExit(problem)


def main() -> None:
    """Read the arguments, send, and say where the message is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("room")
    parser.add_argument("body", help="the text, or - for what is on standard input")
    parser.add_argument("--id", required=True, help="what tells this notification from all others")
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    asked = parser.parse_args()
    body = sys.stdin.read() if asked.body == "-" else asked.body
    sent = send(asked.url, os.environ["PARLEY_TOKEN"], asked.room, body, asked.id)
    print(f"message {sent['number']} of {asked.room}")


if __name__ == "__main__":
    main()
