"""Files that users upload, and the messages that they belong to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "uploads",
        sa.Column("upload_id", sa.UUID(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("clock_timestamp()")
        ),
        sa.Column("expires_at", sa.DateTime(timezone=True)),
        sa.Column("claimed_at", sa.DateTime(timezone=True)),
        sa.Column("width", sa.Integer()),
        sa.Column("height", sa.Integer()),
        sa.Column("thumbnail", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("room_id", sa.BigInteger()),
        sa.Column("sequence", sa.BigInteger()),
        sa.CheckConstraint("state IN ('pending', 'checking', 'ready', 'attached', 'gone')", name="uploads_state_check"),
        sa.PrimaryKeyConstraint("upload_id", name="uploads_pkey"),
        schema="chat",
    )
    op.create_index(
        "uploads_user_idx", "uploads", ["user_id", "upload_id"], schema="chat", postgresql_include=["size", "state"]
    )
    op.create_index(
        "uploads_message_idx", "uploads", ["room_id", "sequence"], schema="chat",
        postgresql_where=sa.text("room_id IS NOT NULL"),
    )  # fmt: skip
    op.create_index(
        "uploads_expires_idx", "uploads", ["expires_at"], schema="chat",
        postgresql_where=sa.text("expires_at IS NOT NULL"),
    )  # fmt: skip


def downgrade() -> None:
    op.drop_table("uploads", schema="chat")
