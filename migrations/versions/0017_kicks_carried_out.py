"""A kick says whether gateways were told: one whose process died before that is carried out by another."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("kicks", sa.Column("carried_out_at", sa.DateTime(timezone=True)), schema="auth")
    op.execute("UPDATE auth.kicks SET carried_out_at = at")
    op.create_index(
        "kicks_untold_idx", "kicks", ["at"], schema="auth", postgresql_where=sa.text("carried_out_at IS NULL")
    )


def downgrade() -> None:
    op.drop_index("kicks_untold_idx", "kicks", schema="auth")
    op.drop_column("kicks", "carried_out_at", schema="auth")
