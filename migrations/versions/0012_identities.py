"""Logins at OpenID Connect providers: who somebody is there, logins under way, and which sessions came from where."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

NOW = sa.func.clock_timestamp()


def text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False)


def moment(name: str, default: sa.ColumnElement[datetime] | None = None) -> sa.Column[datetime]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=False, server_default=default)


def user_id() -> sa.Column[str]:
    return sa.Column("user_id", sa.Text, sa.ForeignKey("auth.users.id", ondelete="CASCADE"), nullable=False)


def upgrade() -> None:
    op.create_table(
        "identities",
        sa.Column("issuer", sa.Text, primary_key=True),
        sa.Column("subject", sa.Text, primary_key=True),
        user_id(),
        text("name"),
        text("address"),
        sa.Column("roles", ARRAY(sa.Text), nullable=False),
        moment("created_at", NOW),
        moment("last_login_at", NOW),
        schema="auth",
    )
    op.create_index("identities_user_id_idx", "identities", ["user_id"], schema="auth")
    known = sa.text("address <> ''")
    op.create_index("identities_address_idx", "identities", ["address"], schema="auth", postgresql_where=known)
    op.create_table(
        "oidc_logins",
        sa.Column("state", sa.LargeBinary, primary_key=True),
        sa.Column("browser", sa.LargeBinary, nullable=False),
        *map(
            text, ("address", "provider", "nonce", "verifier", "redirect_uri", "destination", "app_state", "challenge")
        ),
        moment("started_at", NOW),
        moment("expires_at"),
        schema="auth",
    )
    op.create_index("oidc_logins_expires_at_idx", "oidc_logins", ["expires_at"], schema="auth")
    op.create_index("oidc_logins_address_idx", "oidc_logins", ["address"], schema="auth")
    op.create_table(
        "login_codes",
        sa.Column("code", sa.LargeBinary, primary_key=True),
        sa.Column("browser", sa.LargeBinary, nullable=False),
        text("challenge"),
        user_id(),
        *map(text, ("provider", "issuer", "subject", "provider_session", "id_token")),
        moment("started_at"),
        moment("expires_at"),
        schema="auth",
    )
    op.create_index("login_codes_expires_at_idx", "login_codes", ["expires_at"], schema="auth")
    op.create_table(
        "provider_sessions",
        sa.Column("session_id", sa.Text, sa.ForeignKey("auth.sessions.id", ondelete="CASCADE"), primary_key=True),
        user_id(),
        *map(text, ("provider", "issuer", "subject", "provider_session", "id_token")),
        schema="auth",
    )
    op.create_index("provider_sessions_subject_idx", "provider_sessions", ["issuer", "subject"], schema="auth")
    op.create_index("provider_sessions_session_idx", "provider_sessions", ["issuer", "provider_session"], schema="auth")
    op.create_table(
        "provider_logouts",
        sa.Column("issuer", sa.Text, primary_key=True),
        sa.Column("id", sa.Text, primary_key=True),
        text("subject"),
        text("provider_session"),
        moment("at", NOW),
        schema="auth",
    )
    op.create_index("provider_logouts_at_idx", "provider_logouts", ["at"], schema="auth")


def downgrade() -> None:
    for name in ("provider_logouts", "provider_sessions", "login_codes", "oidc_logins", "identities"):
        op.drop_table(name, schema="auth")
