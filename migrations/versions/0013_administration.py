"""Administration: suspensions, banned ranges, kicks that are followed up, API keys, bots; an audit log that only grows.

An audit entry says what was before and after, and the id that its request was given, so that a retry leaves one entry.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, CIDR, JSONB

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_APPEND_ONLY = """
CREATE FUNCTION auth.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'auth.% only grows', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END
$$
"""


def upgrade() -> None:
    _moment = sa.DateTime(timezone=True)
    _now = sa.text("clock_timestamp()")
    op.drop_constraint("users_kind_check", "users", schema="auth")
    op.add_column("users", sa.Column("owner_id", sa.Text), schema="auth")
    op.create_check_constraint("users_kind_check", "users", "kind IN ('local', 'external', 'bot')", schema="auth")
    op.create_check_constraint("users_owner_check", "users", "(kind = 'bot') = (owner_id IS NOT NULL)", schema="auth")
    op.create_foreign_key(
        "users_owner_id_fkey", "users", "users", ["owner_id"], ["id"],
        source_schema="auth", referent_schema="auth", ondelete="CASCADE",
    )  # fmt: skip
    op.create_index(
        "users_owner_id_idx", "users", ["owner_id"], schema="auth", postgresql_where=sa.text("owner_id IS NOT NULL")
    )

    op.add_column("audit", sa.Column("before", JSONB), schema="auth")
    op.add_column("audit", sa.Column("after", JSONB), schema="auth")
    op.add_column("audit", sa.Column("request_id", sa.Text, nullable=False, server_default=""), schema="auth")
    op.create_index(
        "audit_request_key", "audit", ["admin_id", "request_id", "action", "target"],
        unique=True, schema="auth", postgresql_where=sa.text("request_id <> ''"),
    )  # fmt: skip
    op.create_index("audit_target_idx", "audit", ["target", "id"], schema="auth")
    op.execute(_APPEND_ONLY)
    op.execute(
        "CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON auth.audit"
        " FOR EACH STATEMENT EXECUTE FUNCTION auth.refuse_change()"
    )

    op.create_table(
        "suspensions",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("user_id", sa.Text, sa.ForeignKey("auth.users.id", ondelete="CASCADE"), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("suspended_by", sa.Text, nullable=False),
        sa.Column("created_at", _moment, nullable=False, server_default=_now),
        sa.Column("expires_at", _moment),
        sa.Column("lifted_at", _moment),
        schema="auth",
    )
    op.create_index(
        "suspensions_standing_key", "suspensions", ["user_id"],
        unique=True, schema="auth", postgresql_where=sa.text("lifted_at IS NULL"),
    )  # fmt: skip

    op.create_table(
        "address_bans",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("range", CIDR, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("banned_by", sa.Text, nullable=False),
        sa.Column("created_at", _moment, nullable=False, server_default=_now),
        sa.Column("expires_at", _moment),
        sa.Column("lifted_at", _moment),
        schema="auth",
    )
    op.create_index(
        "address_bans_standing_key", "address_bans", ["range"],
        unique=True, schema="auth", postgresql_where=sa.text("lifted_at IS NULL"),
    )  # fmt: skip

    op.create_table(
        "kicks",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("at", _moment, nullable=False, server_default=_now),
        sa.Column("admin_id", sa.Text, nullable=False),
        sa.Column("users", ARRAY(sa.Text), nullable=False),
        sa.Column("ranges", ARRAY(sa.Text), nullable=False),
        sa.Column("code", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("disconnected", sa.Integer, nullable=False, server_default="0"),
        schema="auth",
    )
    op.create_index("kicks_at_idx", "kicks", ["at"], schema="auth")
    op.create_table(
        "kick_gateways",
        sa.Column("kick_id", sa.Text, sa.ForeignKey("auth.kicks.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("address", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("settled_at", _moment),
        sa.CheckConstraint("state IN ('unanswered', 'answered', 'forgotten')", name="kick_gateways_state_check"),
        schema="auth",
    )
    op.create_index(
        "kick_gateways_unanswered_idx", "kick_gateways", ["kick_id"],
        schema="auth", postgresql_where=sa.text("state = 'unanswered'"),
    )  # fmt: skip

    op.create_table(
        "api_keys",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("user_id", sa.Text, sa.ForeignKey("auth.users.id", ondelete="CASCADE"), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("scopes", ARRAY(sa.Text), nullable=False),
        sa.Column("secret_hash", sa.LargeBinary, nullable=False),
        sa.Column("previous_hash", sa.LargeBinary),
        sa.Column("previous_until", _moment),
        sa.Column("created_by", sa.Text, nullable=False),
        sa.Column("created_at", _moment, nullable=False, server_default=_now),
        sa.Column("expires_at", _moment),
        sa.Column("last_used_at", _moment),
        sa.Column("revoked_at", _moment),
        schema="auth",
    )
    op.create_index("api_keys_user_id_idx", "api_keys", ["user_id"], schema="auth")


def downgrade() -> None:
    for table in ("api_keys", "kick_gateways", "kicks", "address_bans", "suspensions"):
        op.drop_table(table, schema="auth")
    op.execute("DROP TRIGGER audit_append_only ON auth.audit")
    op.execute("DROP FUNCTION auth.refuse_change()")
    op.drop_index("audit_target_idx", "audit", schema="auth")
    op.drop_index("audit_request_key", "audit", schema="auth")
    for column in ("request_id", "after", "before"):
        op.drop_column("audit", column, schema="auth")
    op.execute("DELETE FROM auth.users WHERE kind = 'bot'")
    op.drop_constraint("users_owner_check", "users", schema="auth")
    op.drop_constraint("users_kind_check", "users", schema="auth")
    op.drop_column("users", "owner_id", schema="auth")
    op.create_check_constraint("users_kind_check", "users", "kind IN ('local', 'external')", schema="auth")
