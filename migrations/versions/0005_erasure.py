"""What was asked to be erased, how far that is, and an index of what is still open."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "erasures",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=True),
        sa.Column("actor_id", sa.LargeBinary(), nullable=True),
        sa.Column("room_id", sa.BigInteger(), nullable=True),
        sa.Column("event_id", sa.UUID(), nullable=True),
        sa.Column("before", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "requested_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("noted", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("repeated", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("at_room", sa.BigInteger(), nullable=True),
        sa.Column("at_sequence", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("events", sa.BigInteger(), server_default="0", nullable=False),
        sa.CheckConstraint("scope IN ('user', 'message', 'room', 'age')", name="erasures_scope_check"),
        sa.PrimaryKeyConstraint("id", name="erasures_pkey"),
        schema="chat",
    )
    op.create_index(
        "erasures_open_idx",
        "erasures",
        ["requested_at"],
        schema="chat",
        postgresql_where=sa.text("completed_at IS NULL"),
    )
    op.create_index("erasures_user_idx", "erasures", ["user_id", "requested_at"], schema="chat")


def downgrade() -> None:
    op.drop_table("erasures", schema="chat")
