"""How far users have read rooms, which messages mention them, and what they want to be told."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0026"
down_revision = "0024"
branch_labels = None
depends_on = None


def number(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=False)


def text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=False)


def upgrade() -> None:
    now = sa.text("clock_timestamp()")
    op.create_table(
        "reads",
        number("room_id"),
        text("user_id"),
        number("sequence"),
        number("number"),
        sa.Column("read_at", sa.DateTime(timezone=True), nullable=False, server_default=now),
        sa.PrimaryKeyConstraint("room_id", "user_id", name="reads_pkey"),
        schema="chat",
        postgresql_with={"fillfactor": 70},
    )
    op.create_index("reads_user_idx", "reads", ["user_id"], schema="chat")
    op.create_table(
        "mentions",
        number("room_id"),
        text("user_id"),
        number("sequence"),
        text("author_id"),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("room_id", "user_id", "sequence", name="mentions_pkey"),
        schema="chat",
    )
    op.create_index("mentions_user_idx", "mentions", ["user_id"], schema="chat")
    op.create_index("mentions_author_idx", "mentions", ["author_id"], schema="chat")
    op.create_index("mentions_at_idx", "mentions", ["at"], schema="chat")
    op.create_table(
        "levels",
        number("room_id"),
        text("user_id"),
        text("level"),
        sa.PrimaryKeyConstraint("room_id", "user_id", name="levels_pkey"),
        schema="chat",
    )
    op.create_index("levels_user_idx", "levels", ["user_id"], schema="chat")
    op.create_table(
        "preferences",
        text("user_id"),
        sa.Column("private_receipts", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("silenced", ARRAY(sa.Text()), server_default=sa.text("'{}'::text[]"), nullable=False),
        sa.PrimaryKeyConstraint("user_id", name="preferences_pkey"),
        schema="chat",
    )


def downgrade() -> None:
    for table in ("preferences", "levels", "mentions", "reads"):
        op.drop_table(table, schema="chat")
