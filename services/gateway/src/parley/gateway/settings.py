"""Settings of the gateway. They are read from the environment when the process starts, and never change after that."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from parley.common.process.settings import ServiceSettings
from parley.engineio.transports import Limits

MAX_MESSAGE = 4 * 1024 * 1024
"""Bytes of the largest message or polling request that may be configured."""


class GatewaySettings(ServiceSettings):
    """Where the namespaces are declared, and the limits of connections (`PARLEY_GATEWAY_*`)."""

    port: int = Field(default=8001, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    namespaces_file: Path | None = Field(default=None, description="TOML file of namespaces; without it, /chat alone")
    web_dir: Path | None = Field(default=None, description="directory of the page served at /")
    gateway_ping_interval: float = Field(default=25, gt=0, description="seconds between heartbeats")
    gateway_ping_timeout: float = Field(default=20, gt=0, description="seconds to wait for a heartbeat's answer")
    gateway_connect_timeout: float = Field(
        default=45, gt=0, description="seconds to join a namespace after the handshake"
    )
    gateway_max_message: int = Field(
        default=1_000_000, ge=1024, le=MAX_MESSAGE, description="bytes of one frame or polling request"
    )
    gateway_max_unjoined_message: int = Field(
        default=128 * 1024, ge=1024, description="the same before a namespace is joined"
    )
    gateway_max_input_memory: int = Field(
        default=256 * 1024 * 1024,
        ge=MAX_MESSAGE,
        description="bytes that all clients sent and nobody has taken yet, an eighth of it by one address",
    )
    gateway_max_unjoined_memory: int = Field(
        default=32 * 1024 * 1024, ge=128 * 1024, description="the same of those that have joined no namespace"
    )
    gateway_max_output_memory: int = Field(
        default=64 * 1024 * 1024,
        ge=MAX_MESSAGE,
        description="bytes that all clients may leave unread, a quarter of it by one address",
    )
    gateway_command_timeout: float = Field(default=5, gt=0, description="seconds to wait for a command's outcome")
    gateway_max_waiting: int = Field(default=1000, ge=1, description="commands of one connection that may wait")
    gateway_max_waiting_bytes: int = Field(default=4 * 1024 * 1024, ge=1024, description="and their bytes")
    gateway_max_buffer: int = Field(
        default=1024 * 1024,
        ge=128 * 1024,
        description="bytes that may wait for a slow client before it is disconnected",
    )
    gateway_upgrade_timeout: float = Field(default=10, gt=0, description="seconds to move from polling to WebSocket")
    gateway_max_packets: int = Field(default=1000, ge=1, description="packets in one polling request")
    gateway_max_attachments: int = Field(default=10, ge=0, description="binary attachments of one event")
    gateway_max_per_address: int = Field(default=10_000, ge=1, description="connections from one address")
    gateway_max_per_user: int = Field(default=100, ge=1, description="connections of one user")
    gateway_events_per_second: float = Field(
        default=200, gt=0, description="events per second that one connection may emit for long"
    )
    gateway_events_burst: int = Field(default=2000, ge=1, description="events that it may emit at once")
    gateway_bytes_per_second: float = Field(
        default=4 * 1024 * 1024, gt=0, description="bytes per second that one connection may send for long"
    )
    gateway_bytes_burst: int = Field(
        default=16 * 1024 * 1024, ge=MAX_MESSAGE, description="bytes that it may send at once"
    )
    gateway_user_events_per_second: float = Field(
        default=500, gt=0, description="events per second that all connections of one user may emit for long"
    )
    gateway_user_events_burst: int = Field(default=5000, ge=1, description="events that they may emit at once")
    gateway_presence_lease: float = Field(
        default=10,
        ge=0.5,
        le=18,
        description="seconds for which users of a gateway that says nothing more are shown as present",
    )
    gateway_allow_eio3: bool = Field(default=False, description="serve Socket.IO 2.x clients (Engine.IO 3) as well")
    gateway_deflate: bool = Field(default=False, description="compress WebSocket messages of 1 KB and more")
    gateway_drain_seconds: float = Field(
        default=5, ge=0, description="seconds over which connections are closed when the gateway stops"
    )

    def engine_limits(self) -> Limits:
        """Return the limits that the Engine.IO library has to keep."""
        return Limits(
            ping_interval=self.gateway_ping_interval,
            ping_timeout=self.gateway_ping_timeout,
            upgrade_timeout=self.gateway_upgrade_timeout,
            max_payload=self.gateway_max_message,
            max_unjoined=self.gateway_max_unjoined_message,
            # A single message of the largest size must not make its receiver a slow client.
            max_buffer=max(self.gateway_max_buffer, self.gateway_max_message),
            max_packets=self.gateway_max_packets,
            max_per_address=self.gateway_max_per_address,
            max_input_memory=self.gateway_max_input_memory,
            max_unjoined_memory=self.gateway_max_unjoined_memory,
            max_output_memory=self.gateway_max_output_memory,
        )
