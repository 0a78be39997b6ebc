"""Previews of links, remembered for a day under a digest of the link."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "previews",
        sa.Column("link", sa.LargeBinary(), nullable=False),
        sa.Column("preview", postgresql.JSON(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("link", name="previews_pkey"),
        schema="chat",
    )
    op.create_index("previews_expires_idx", "previews", ["expires_at"], schema="chat")


def downgrade() -> None:
    op.drop_table("previews", schema="chat")
