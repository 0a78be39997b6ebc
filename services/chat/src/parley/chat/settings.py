"""Settings of the chat service."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr

from parley.common.process.settings import ServiceSettings, unsafe_database, with_password

UPLOAD_TYPES = (
    "image/jpeg, image/png, image/gif, image/webp, audio/*, video/*, text/plain, text/csv, application/pdf, "
    "application/zip, application/gzip, application/json, application/rtf, application/msword, application/vnd.ms-*, "
    "application/vnd.openxmlformats-officedocument.*, application/vnd.oasis.opendocument.*"
)
"""Nothing of these is anything that a machine or a browser would run."""


class ChatSettings(ServiceSettings):
    """The settings of a chat process: `PARLEY_DATABASE_URL`, and the limits of chat as `PARLEY_CHAT_*`."""

    port: int = Field(default=8003, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    database_url: str = Field(
        default="postgresql://parley:parley@127.0.0.1:5432/parley", description="Postgres, as libpq writes it"
    )
    database_password: SecretStr = Field(
        default=SecretStr(""), description="the database user's password, where the URL has none"
    )
    chat_pool_size: int = Field(
        default=10,
        ge=6,
        description="connections to Postgres: one each to write, announce and hand over to consumers, two for "
        "gateways, the others for reads",
    )
    # JSON writes a control character in six bytes, so a text of nothing else grows to six times its size, and it must
    # still fit an ack.
    chat_max_body: int = Field(default=64 * 1024, ge=1, le=80 * 1024, description="bytes of a message's text in UTF-8")
    chat_max_rooms: int = Field(default=1000, ge=1, description="rooms a user may be in; archived ones do not count")
    chat_max_invitations: int = Field(
        default=100, ge=1, description="invitations of one user into one room that may wait for an answer"
    )
    chat_invite_again_seconds: int = Field(
        default=86_400, ge=0, le=10**9, description="seconds for which who declined is not invited into that room again"
    )
    chat_batch: int = Field(default=500, ge=1, le=5000, description="commands in one transaction at most")
    chat_max_waiting: int = Field(default=10_000, ge=1, description="commands that may wait for the next transaction")
    chat_max_waiting_per_user: int = Field(default=1000, ge=1, description="commands of one user that may wait so")
    chat_user_requests_per_second: float = Field(
        default=200, gt=0, description="REST requests per second that one user may make for long"
    )
    chat_user_requests_burst: int = Field(default=1000, ge=1, description="REST requests that they may make at once")

    chat_screen_url: str = Field(
        default="", description="URL of a service that looks at each text before it is committed; without it none does"
    )
    chat_screen_token: SecretStr = Field(
        default=SecretStr(""), description="what that service is sent as `Authorization: Bearer`"
    )
    chat_screen_timeout: float = Field(default=0.2, gt=0, le=5, description="seconds that it has for its answer")
    chat_screen_fail_open: bool = Field(
        default=True, description="whether texts are allowed where it does not answer; else they are `unavailable`"
    )

    chat_push_key: SecretStr = Field(
        default=SecretStr(""),
        description="private key of Web Push (VAPID): 32 bytes in base64url; without it nothing is pushed",
    )
    chat_push_contact: str = Field(
        default="mailto:admin@example.org",
        description="address at which push services reach who runs this, as mailto: or https:",
    )
    chat_uploads: str = Field(
        default="", description="where files are kept: a directory, or s3://bucket/prefix; without it none are taken"
    )
    chat_upload_max_size: int = Field(default=25 * 1024 * 1024, ge=1, le=2**40, description="bytes of a file")
    chat_upload_quota: int = Field(default=2**30, ge=1, description="bytes of all files of one user")
    chat_upload_total: int = Field(default=0, ge=0, description="bytes of all files of all users, about; 0: no limit")
    chat_upload_types: str = Field(
        default=UPLOAD_TYPES, description="media types of files that are taken, as in image/*, separated by commas"
    )
    chat_upload_max_pixels: int = Field(
        default=40_000_000, ge=1, le=100_000_000, description="pixels of an image; one with more is refused"
    )
    chat_upload_scanner: str = Field(
        default="",
        description="who looks for malware in files: clamd://host:3310, clamd:///path or http(s)://host/path",
    )
    chat_report_files_days: float = Field(
        default=30,
        ge=0,
        le=3650,
        description="days that files of a deleted message are kept after its report is resolved",
    )

    chat_previews: bool = Field(
        default=False, description="whether pages that users link to are fetched, from public addresses, for previews"
    )

    chat_erasure_ledger: Path | None = Field(
        default=None,
        description="file in which erasures are written down, outside of backups; without it none is begun",
    )
    chat_keep_days: float = Field(default=0, ge=0, description="days that the texts of messages are kept; 0: for ever")

    @property
    def upload_types(self) -> tuple[str, ...]:
        """The patterns of media types that are taken."""
        return tuple(part.strip().lower() for part in self.chat_upload_types.split(",") if part.strip())

    @property
    def kept_seconds(self) -> float:
        """Seconds that files of a deleted message are kept after its report is resolved."""
        return self.chat_report_files_days * 86_400

    @property
    def database_dsn(self) -> str:
        """The database's URL with the password in it, for whoever connects."""
        return with_password(self.database_url, self.database_password.get_secret_value())

    def unsafe(self) -> list[str]:
        """What of these settings is not for production."""
        return [*super().unsafe(), *unsafe_database(self.database_url)]
