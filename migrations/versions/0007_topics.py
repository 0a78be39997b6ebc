"""What a room is about."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # A constant default is kept beside the table: no row is written for it.
    op.add_column("rooms", sa.Column("topic", sa.Text(), server_default="", nullable=False), schema="chat")


def downgrade() -> None:
    op.drop_column("rooms", "topic", schema="chat")
