"""Sessions: each login with its device, which its refresh tokens and access tokens belong to.

A refresh token that was spent is known by its seal, so that only those that may still be used are rows.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_FROM_FAMILIES = """
INSERT INTO auth.sessions (id, user_id, created_at, last_used_at, expires_at, usable_until, device, address, method)
SELECT 's_' || family, user_id, min(issued_at), max(issued_at), min(issued_at) + interval '90 days',
       least(max(expires_at), min(issued_at) + interval '90 days'), '', '', 'password'
FROM auth.refresh_tokens GROUP BY family, user_id HAVING bool_or(used_at IS NULL AND revoked_at IS NULL)
"""


def upgrade() -> None:
    op.create_table(
        "sessions",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("usable_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["auth.users.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        schema="auth",
    )
    op.create_index("sessions_user_id_idx", "sessions", ["user_id"], schema="auth")
    op.create_index("sessions_usable_until_idx", "sessions", ["usable_until"], schema="auth")
    op.execute(_FROM_FAMILIES)
    op.execute(
        "DELETE FROM auth.refresh_tokens WHERE used_at IS NOT NULL OR revoked_at IS NOT NULL"
        " OR 's_' || family NOT IN (SELECT id FROM auth.sessions)"
    )
    op.drop_index("refresh_tokens_family_idx", "refresh_tokens", schema="auth")
    op.drop_index("refresh_tokens_user_id_idx", "refresh_tokens", schema="auth")
    op.drop_column("refresh_tokens", "user_id", schema="auth")
    op.drop_column("refresh_tokens", "revoked_at", schema="auth")
    op.alter_column("refresh_tokens", "family", new_column_name="session_id", schema="auth")
    op.execute("UPDATE auth.refresh_tokens SET session_id = 's_' || session_id")
    op.create_foreign_key(
        "refresh_tokens_session_id_fkey", "refresh_tokens", "sessions", ["session_id"], ["id"],
        source_schema="auth", referent_schema="auth", ondelete="CASCADE",
    )  # fmt: skip
    op.create_index("refresh_tokens_session_id_idx", "refresh_tokens", ["session_id"], schema="auth")


def downgrade() -> None:
    op.drop_index("refresh_tokens_session_id_idx", "refresh_tokens", schema="auth")
    op.drop_constraint("refresh_tokens_session_id_fkey", "refresh_tokens", schema="auth")
    op.alter_column("refresh_tokens", "session_id", new_column_name="family", schema="auth")
    op.add_column("refresh_tokens", sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True), schema="auth")
    op.add_column("refresh_tokens", sa.Column("user_id", sa.Text(), nullable=True), schema="auth")
    op.execute(
        "UPDATE auth.refresh_tokens AS token SET user_id = session.user_id, revoked_at = session.revoked_at"
        " FROM auth.sessions AS session WHERE session.id = token.family"
    )
    op.alter_column("refresh_tokens", "user_id", nullable=False, schema="auth")
    op.create_foreign_key(
        "refresh_tokens_user_id_fkey", "refresh_tokens", "users", ["user_id"], ["id"],
        source_schema="auth", referent_schema="auth", ondelete="CASCADE",
    )  # fmt: skip
    op.create_index("refresh_tokens_family_idx", "refresh_tokens", ["family"], schema="auth")
    op.create_index("refresh_tokens_user_id_idx", "refresh_tokens", ["user_id"], schema="auth")
    op.drop_table("sessions", schema="auth")
