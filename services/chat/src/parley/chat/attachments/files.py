"""All parts of files, put together as the settings say."""

from __future__ import annotations

from typing import NamedTuple

from parley.chat.attachments.byte_store import ByteStore
from parley.chat.attachments.cleanup import FileCleanup
from parley.chat.attachments.downloads import Downloads, SeesFiles
from parley.chat.attachments.inspection import Inspector
from parley.chat.attachments.scanner import Scanner
from parley.chat.attachments.thumbnails import ThumbnailMaker
from parley.chat.attachments.uploads import Uploads
from parley.chat.log.database import Pool
from parley.chat.settings import ChatSettings


class Files(NamedTuple):
    """What takes files, hands them out and removes them."""

    uploads: Uploads
    downloads: Downloads
    cleanup: FileCleanup


def open_files(pool: Pool, settings: ChatSettings, sees: SeesFiles) -> Files | None:
    """Open the place of files that the settings name; None if they name none, and no files are taken.

    `sees` says which files are seen by a report. Raises what `ByteStore` and `Scanner` raise.
    """
    if not settings.chat_uploads:
        return None
    store = ByteStore(settings.chat_uploads)
    scanner = Scanner(settings.chat_upload_scanner) if settings.chat_upload_scanner else None
    inspector = Inspector(store, ThumbnailMaker(settings.chat_upload_max_pixels), scanner)
    cleanup = FileCleanup(pool, store, settings.kept_seconds)
    return Files(Uploads(pool, store, inspector, settings), Downloads(pool, store, sees), cleanup)
