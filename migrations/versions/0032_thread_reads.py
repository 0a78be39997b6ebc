"""How far users have read the threads that they follow."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "thread_reads",
        sa.Column("room_id", sa.BigInteger(), nullable=False),
        sa.Column("thread", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("read_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("clock_timestamp()")),
        sa.PrimaryKeyConstraint("room_id", "thread", "user_id", name="thread_reads_pkey"),
        schema="chat",
        postgresql_with={"fillfactor": 70},
    )
    op.create_index("thread_reads_user_idx", "thread_reads", ["user_id"], schema="chat")


def downgrade() -> None:
    op.drop_table("thread_reads", schema="chat")
