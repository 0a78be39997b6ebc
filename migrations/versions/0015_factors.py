"""Second factors, verified e-mail addresses, tokens that are sent by mail, and passwords that have to be changed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _moment = sa.DateTime(timezone=True)
    _now = sa.text("clock_timestamp()")

    def _user(*, primary_key: bool = False) -> sa.Column[str]:
        return sa.Column(
            "user_id", sa.Text, sa.ForeignKey("auth.users.id", ondelete="CASCADE"), primary_key=primary_key,
            nullable=False,
        )  # fmt: skip

    op.add_column(
        "users",
        sa.Column("password_change_required", sa.Boolean, nullable=False, server_default=sa.text("false")),
        schema="auth",
    )
    op.create_table(
        "emails",
        _user(primary_key=True),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("address_key", sa.Text(collation="C"), nullable=False),
        sa.Column("verified_at", _moment, nullable=False, server_default=_now),
        schema="auth",
    )
    op.create_index("emails_address_key", "emails", ["address_key"], unique=True, schema="auth")
    op.create_table(
        "mail_tokens",
        sa.Column("hash", sa.LargeBinary, primary_key=True),
        _user(),
        sa.Column("purpose", sa.Text, nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("password", sa.LargeBinary, nullable=False),
        sa.Column("created_at", _moment, nullable=False, server_default=_now),
        sa.Column("expires_at", _moment, nullable=False),
        sa.CheckConstraint("purpose IN ('verify', 'reset')", name="mail_tokens_purpose_check"),
        schema="auth",
    )
    op.create_index("mail_tokens_user_id_idx", "mail_tokens", ["user_id", "purpose"], schema="auth")
    op.create_index("mail_tokens_expires_at_idx", "mail_tokens", ["expires_at"], schema="auth")
    op.create_table(
        "totp",
        _user(primary_key=True),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("key", sa.LargeBinary, nullable=False),
        sa.Column("created_at", _moment, nullable=False, server_default=_now),
        sa.Column("confirmed_at", _moment),
        sa.Column("last_step", sa.BigInteger, nullable=False, server_default="0"),
        schema="auth",
    )
    op.create_table(
        "code_guesses",
        _user(primary_key=True),
        sa.Column("since", _moment, nullable=False, server_default=_now),
        sa.Column("strangers", sa.Integer, nullable=False, server_default="0"),
        sa.Column("known", sa.Integer, nullable=False, server_default="0"),
        schema="auth",
    )
    op.create_table(
        "recovery_codes",
        sa.Column("hash", sa.LargeBinary, primary_key=True),
        _user(),
        sa.Column("created_at", _moment, nullable=False, server_default=_now),
        sa.Column("used_at", _moment),
        schema="auth",
    )
    op.create_index("recovery_codes_user_id_idx", "recovery_codes", ["user_id"], schema="auth")
    op.create_table(
        "passkeys",
        sa.Column("id", sa.Text, primary_key=True),
        _user(),
        sa.Column("credential", sa.LargeBinary, nullable=False),
        sa.Column("public_key", sa.LargeBinary, nullable=False),
        sa.Column("sign_count", sa.BigInteger, nullable=False),
        sa.Column("transports", ARRAY(sa.Text), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("backed_up", sa.Boolean, nullable=False),
        sa.Column("created_at", _moment, nullable=False, server_default=_now),
        sa.Column("last_used_at", _moment),
        schema="auth",
    )
    op.create_index("passkeys_user_id_idx", "passkeys", ["user_id"], schema="auth")
    op.create_index("passkeys_credential_key", "passkeys", ["credential"], unique=True, schema="auth")
    op.create_table(
        "spent_tickets",
        sa.Column("hash", sa.LargeBinary, primary_key=True),
        sa.Column("expires_at", _moment, nullable=False),
        schema="auth",
    )
    op.create_index("spent_tickets_expires_at_idx", "spent_tickets", ["expires_at"], schema="auth")


def downgrade() -> None:
    for table in ("spent_tickets", "passkeys", "recovery_codes", "code_guesses", "totp", "mail_tokens", "emails"):
        op.drop_table(table, schema="auth")
    op.drop_column("users", "password_change_required", schema="auth")
