"""Since when an API key has its secret: connections by the one before end with the overlap."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0037"
down_revision = "0036"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("secret_since", "previous_since"):
        op.add_column("api_keys", sa.Column(name, sa.DateTime(timezone=True)), schema="auth")
    # Connections by either secret say that they are as old as the key. So all of them end once, and come back.
    op.execute(
        """
        UPDATE auth.api_keys
        SET previous_since = created_at, secret_since = least(previous_until, clock_timestamp())
        WHERE previous_hash IS NOT NULL
        """
    )
    op.create_index(
        "api_keys_rotated_idx", "api_keys", ["previous_until"], schema="auth",
        postgresql_where=sa.text("previous_hash IS NOT NULL"),
    )  # fmt: skip


def downgrade() -> None:
    op.drop_index("api_keys_rotated_idx", "api_keys", schema="auth")
    op.drop_column("api_keys", "previous_since", schema="auth")
    op.drop_column("api_keys", "secret_since", schema="auth")
