"""When a room was marked as unread, so that a read that was said before does not undo it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0043"
down_revision = "0042"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("reads", sa.Column("marked_at", sa.DateTime(timezone=True)), schema="chat")


def downgrade() -> None:
    op.drop_column("reads", "marked_at", schema="chat")
