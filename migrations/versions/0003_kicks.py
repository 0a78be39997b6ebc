"""An index of kicks: gateways ask whether those whom they hold were kicked since they were let in."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "audit_kicks_idx",
        "audit",
        ["target", "at"],
        schema="auth",
        postgresql_where=sa.text("action = 'user.kick'"),
    )


def downgrade() -> None:
    op.drop_index("audit_kicks_idx", table_name="audit", schema="auth")
