"""People in rooms: what holds for a user there, the people of direct rooms, links into rooms, and who blocked whom."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    op.add_column("rooms", sa.Column("slow_seconds", sa.Integer(), nullable=False, server_default="0"), schema="chat")
    op.add_column("rooms", sa.Column("closed", sa.Boolean(), nullable=False, server_default="false"), schema="chat")
    op.add_column("rooms", sa.Column("rules", sa.Text(), nullable=False, server_default=""), schema="chat")
    op.create_table(
        "restrictions",
        sa.Column("room_id", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("banned_until", moment),
        sa.Column("muted_until", moment),
        sa.Column("allow", sa.Text(), nullable=False, server_default=""),
        sa.Column("deny", sa.Text(), nullable=False, server_default=""),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("room_id", "user_id", name="restrictions_pkey"),
        schema="chat",
    )
    op.create_table(
        "participants",
        sa.Column("room_id", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("room_id", "user_id", name="participants_pkey"),
        schema="chat",
    )
    op.create_table(
        "invites",
        sa.Column("room_id", sa.BigInteger(), nullable=False),
        sa.Column("invite", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("expires_at", moment),
        sa.Column("uses_left", sa.Integer()),
        sa.PrimaryKeyConstraint("room_id", "invite", name="invites_pkey"),
        schema="chat",
    )
    op.create_table(
        "blocks",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("blocked_id", sa.Text(), nullable=False),
        sa.Column("blocked_at", moment, nullable=False, server_default=sa.text("clock_timestamp()")),
        sa.PrimaryKeyConstraint("user_id", "blocked_id", name="blocks_pkey"),
        schema="chat",
    )
    op.create_index("blocks_blocked_id_idx", "blocks", ["blocked_id"], schema="chat")


def downgrade() -> None:
    for table in ("blocks", "invites", "participants", "restrictions"):
        op.drop_table(table, schema="chat")
    for column in ("rules", "closed", "slow_seconds"):
        op.drop_column("rooms", column, schema="chat")
