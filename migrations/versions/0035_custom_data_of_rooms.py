"""Custom data of rooms."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0035"
down_revision = "0034"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("rooms", sa.Column("custom", sa.Text(), nullable=False, server_default=""), schema="chat")
    op.add_column("rooms", sa.Column("custom_kept_in", sa.BigInteger()), schema="chat")


def downgrade() -> None:
    op.drop_column("rooms", "custom_kept_in", schema="chat")
    op.drop_column("rooms", "custom", schema="chat")
