"""The index by which messages are found: a row of terms for each message, and the parts that each scope's index has."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "search",
        sa.Column("room_id", sa.BigInteger(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("text_sequence", sa.BigInteger(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("version", sa.SmallInteger(), nullable=False),
        sa.Column("terms", postgresql.ARRAY(sa.BigInteger()), nullable=False),
        sa.PrimaryKeyConstraint("room_id", "sequence", name="search_pkey"),
        schema="chat",
    )
    op.create_index(
        "search_terms_idx", "search", ["terms"], schema="chat", postgresql_using="gin",
        postgresql_with={"fastupdate": "off"},
    )  # fmt: skip
    op.create_index(
        "search_edited_idx", "search", ["room_id", "text_sequence"], schema="chat",
        postgresql_where=sa.text("text_sequence <> sequence"),
    )  # fmt: skip
    op.create_table(
        "search_parts",
        sa.Column("scope", sa.BigInteger(), nullable=False),
        sa.Column("starts", sa.DateTime(timezone=True), nullable=False),
        sa.Column("part", sa.BigInteger(), nullable=False),
        sa.Column("latest", sa.DateTime(timezone=True), nullable=False),
        sa.Column("messages", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("scope", "starts", name="search_parts_pkey"),
        schema="chat",
    )


def downgrade() -> None:
    op.drop_table("search_parts", schema="chat")
    op.drop_table("search", schema="chat")
    op.execute("DELETE FROM chat.consumers WHERE name LIKE 'chat.search-%'")
