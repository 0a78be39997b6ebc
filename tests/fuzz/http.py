"""An HTTP connection without a loop or a socket, which answers each request as soon as it is there."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from uvicorn import Config
from uvicorn.server import ServerState

from parley.common.http.connection.gate import HttpLimits
from parley.common.http.connection.request_reader import HttpProtocol
from parley.common.http.forwarded import TrustedProxies

LIMITS = HttpLimits(head_bytes=4096, body_bytes=3000)


class Loop:
    """Runs what is called soon when it is told to; time stands still."""

    def __init__(self) -> None:
        self.soon: deque[Callable[[], object]] = deque()

    def time(self) -> float:
        return 0.0

    def call_soon(self, call: Callable[..., object], *arguments: object) -> None:
        self.soon.append(lambda: call(*arguments))

    def call_later(self, _seconds: float, _call: Callable[..., object]) -> Any:
        return _Handle()


class _Handle:
    def cancel(self) -> None:
        pass


class Transport:
    """A transport that notes what was written and whether it is closed."""

    def __init__(self) -> None:
        self.written = b""
        self.closed = False
        self.reading = True

    def get_extra_info(self, _name: str) -> None:
        return None

    def set_write_buffer_limits(self, high: int) -> None:
        """What is written is gone at once, so it is never too much."""

    def get_write_buffer_size(self) -> int:
        return 0

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def can_write_eof(self) -> bool:
        return False

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


class Connection(HttpProtocol):
    """Notes every request that came whole, with the size of its body."""

    def __init__(self) -> None:
        async def app(_scope: Any, _receive: Any, _send: Any) -> None:
            """Never called."""

        config = Config(app, ws="none", log_config=None)
        loop: Any = Loop()
        options: dict[str, Any] = {"config": config, "server_state": ServerState(), "app_state": {}, "_loop": loop}
        super().__init__(**options, limits=LIMITS, trusted=TrustedProxies(""))
        self.requests: list[tuple[str, str, int]] = []
        self.fake = Transport()
        self._running: Any = None
        self.connection_made(self.fake)

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._running = cycle

    def receive(self, data: bytes) -> None:
        """Bytes arrive, and everything that follows from them happens."""
        if self.fake.closed:
            return
        self.data_received(data)
        loop: Any = self.loop
        while True:
            running = self._running
            if running is not None and not running.more_body and not self.fake.closed:
                self.requests.append((running.scope["method"], running.scope["path"], len(running.body)))
                self._running = None
                running.response_complete = True
                self.on_response_complete()
            elif loop.soon:
                loop.soon.popleft()()
            else:
                break
        assert not self._rest or self.fake.closed, "something waits although everything is answered"

    def end(self) -> None:
        """The transport is gone, and nothing holds on to the connection."""
        self.connection_lost(None)
