"""The event log, rooms and members."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE SCHEMA chat")
    op.create_table(
        "events",
        sa.Column("position", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("room_id", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("event_id", sa.UUID(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("schema_version", sa.SmallInteger(), server_default="1", nullable=False),
        sa.Column("actor_id", sa.Text(), nullable=False),
        sa.Column("command_id", sa.Text(), nullable=False),
        sa.Column("data", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("metadata", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("room_id", "sequence", name="events_pkey"),
        sa.UniqueConstraint("room_id", "actor_id", "command_id", name="events_command_key"),
        schema="chat",
    )
    op.create_index("events_position_idx", "events", ["position"], unique=True, schema="chat")
    op.create_table(
        "rooms",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("archived", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("head", sa.BigInteger(), nullable=False),
        sa.Column("member_count", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "updated_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("id"),
        schema="chat",
    )
    op.create_index(
        "rooms_public_idx",
        "rooms",
        ["created_at", "id"],
        unique=False,
        schema="chat",
        postgresql_where=sa.text("kind = 'public'"),
    )
    op.create_index("rooms_updated_at_idx", "rooms", ["updated_at"], unique=False, schema="chat")
    op.create_table(
        "members",
        sa.Column("room_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["room_id"], ["chat.rooms.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("room_id", "user_id", name="members_pkey"),
        schema="chat",
    )
    op.create_index("members_user_id_idx", "members", ["user_id"], unique=False, schema="chat")


def downgrade() -> None:
    op.drop_table("members", schema="chat")
    op.drop_table("rooms", schema="chat")
    op.drop_table("events", schema="chat")
    op.execute("DROP SCHEMA chat")
