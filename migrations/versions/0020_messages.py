"""What becomes of messages: edits, deletions, reactions, pins, and threads with those who follow them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0020"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "messages",
        sa.Column("room_id", sa.BigInteger(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("edited_in", sa.BigInteger()),
        sa.Column("deleted_in", sa.BigInteger()),
        sa.Column("pinned_in", sa.BigInteger()),
        sa.Column("replies", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("last_reply", sa.BigInteger()),
        sa.Column("last_reply_at", sa.DateTime(timezone=True)),
        sa.Column("edited_at", sa.DateTime(timezone=True)),
        sa.Column("version", sa.Integer(), nullable=False, server_default="1"),
        sa.Column("reactions", postgresql.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("room_id", "sequence", name="messages_pkey"),
        schema="chat",
        postgresql_with={"fillfactor": 70},
    )
    op.create_index(
        "messages_pinned_idx",
        "messages",
        ["room_id", "pinned_in"],
        schema="chat",
        postgresql_where=sa.text("pinned_in IS NOT NULL"),
    )
    op.create_table(
        "reactions",
        sa.Column("room_id", sa.BigInteger(), nullable=False),
        sa.Column("message", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("emoji", sa.Text(), nullable=False),
        sa.Column("added_in", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("room_id", "message", "user_id", "emoji", name="reactions_pkey"),
        schema="chat",
    )
    op.create_index(
        "reactions_first_idx", "reactions", ["room_id", "message", "emoji", "added_in"], schema="chat"
    )  # fmt: skip
    op.create_table(
        "replies",
        sa.Column("room_id", sa.BigInteger(), nullable=False),
        sa.Column("thread", sa.BigInteger(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("room_id", "thread", "sequence", name="replies_pkey"),
        schema="chat",
    )
    op.create_table(
        "thread_followers",
        sa.Column("room_id", sa.BigInteger(), nullable=False),
        sa.Column("thread", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("following", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("room_id", "thread", "user_id", name="thread_followers_pkey"),
        schema="chat",
    )
    op.create_index(
        "thread_followers_user_idx",
        "thread_followers",
        ["user_id", "room_id", "thread"],
        schema="chat",
        postgresql_where=sa.text("following"),
    )
    op.add_column("erasures", sa.Column("sequence", sa.BigInteger()), schema="chat")


def downgrade() -> None:
    op.drop_column("erasures", "sequence", schema="chat")
    for table in ("thread_followers", "replies", "reactions", "messages"):
        op.drop_table(table, schema="chat")
