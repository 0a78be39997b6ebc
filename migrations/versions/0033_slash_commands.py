"""Slash commands of bots, and what users asked with them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "bot_commands",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("room_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(collation="C"), nullable=False),
        sa.Column("command", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", "room_id", "name", name="bot_commands_pkey"),
        schema="chat",
    )
    op.create_index("bot_commands_room_idx", "bot_commands", ["room_id", "name"], schema="chat")
    op.create_table(
        "invocations",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("invocation", postgresql.UUID(as_uuid=True), nullable=False),
        sa.Column("room_id", sa.BigInteger(), nullable=False),
        sa.Column("user_name", sa.Text(), nullable=False),
        sa.Column("bot_id", sa.Text(), nullable=False),
        sa.Column("bot_name", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("options", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False, server_default="waiting"),
        sa.Column("deferred", sa.Boolean(), nullable=False, server_default="false"),
        sa.Column("only_you", sa.Boolean()),
        sa.Column("body", sa.Text(), nullable=False, server_default=""),
        sa.Column("sequence", sa.BigInteger()),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("clock_timestamp()")
        ),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("state IN ('waiting', 'answered', 'expired')", name="invocations_state_check"),
        sa.PrimaryKeyConstraint("user_id", "id", name="invocations_pkey"),
        sa.UniqueConstraint("invocation", name="invocations_invocation_key"),
        schema="chat",
    )
    waiting = sa.text("state = 'waiting'")
    op.create_index("invocations_bot_idx", "invocations", ["bot_id"], schema="chat")
    op.create_index("invocations_asked_idx", "invocations", ["user_id"], schema="chat", postgresql_where=waiting)
    op.create_index(
        "invocations_waiting_idx", "invocations", ["bot_id", "created_at"], schema="chat", postgresql_where=waiting
    )
    op.create_index("invocations_expires_idx", "invocations", ["expires_at"], schema="chat", postgresql_where=waiting)
    op.create_index("invocations_created_idx", "invocations", ["created_at"], schema="chat")
    op.create_index("invocations_room_idx", "invocations", ["room_id"], schema="chat")


def downgrade() -> None:
    op.drop_table("invocations", schema="chat")
    op.drop_table("bot_commands", schema="chat")
