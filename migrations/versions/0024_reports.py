"""What users reported, with copies of it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSON, UUID

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "reports",
        sa.Column("room_id", sa.BigInteger(), nullable=False),
        sa.Column("report", UUID(as_uuid=True), nullable=False),
        sa.Column("message", sa.BigInteger(), nullable=False),
        sa.Column("message_at", moment, nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("authors", ARRAY(sa.Text), nullable=False),
        sa.Column("reporter", sa.Text(), nullable=False),
        sa.Column("category", sa.Text(), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("copy", JSON(), nullable=False),
        sa.Column("created_at", moment, nullable=False, server_default=sa.text("clock_timestamp()")),
        sa.Column("state", sa.Text(), nullable=False, server_default="open"),
        sa.Column("resolved_by", sa.Text()),
        sa.Column("resolved_at", moment),
        sa.Column("resolution", sa.Text()),
        sa.Column("note", sa.Text()),
        sa.CheckConstraint("state IN ('open', 'resolved')", name="reports_state_check"),
        sa.PrimaryKeyConstraint("room_id", "report", name="reports_pkey"),
        schema="chat",
    )
    op.create_index("reports_queue_idx", "reports", ["state", "created_at", "report"], schema="chat")
    op.create_index("reports_room_idx", "reports", ["room_id", "state", "created_at", "report"], schema="chat")
    op.create_index(
        "reports_reporter_idx", "reports", ["reporter"], schema="chat", postgresql_where=sa.text("state = 'open'")
    )


def downgrade() -> None:
    op.drop_table("reports", schema="chat")
