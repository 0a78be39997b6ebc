"""Which erased events still hold a room's present name and topic."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("rooms", sa.Column("name_kept_in", sa.BigInteger()), schema="chat")
    op.add_column("rooms", sa.Column("topic_kept_in", sa.BigInteger()), schema="chat")


def downgrade() -> None:
    op.drop_column("rooms", "topic_kept_in", schema="chat")
    op.drop_column("rooms", "name_kept_in", schema="chat")
