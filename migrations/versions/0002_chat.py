"""The event log, rooms and members."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import UserDefinedType

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


class Xid8(UserDefinedType[int]):
    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        return "XID8"


def upgrade() -> None:
    op.execute("CREATE SCHEMA chat")
    op.create_table(
        "log",
        sa.Column("only", sa.Boolean(), server_default="true", nullable=False),
        sa.Column("incarnation", sa.UUID(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("room_secret", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint('"only"', name="log_one_row"),
        sa.PrimaryKeyConstraint("only"),
        schema="chat",
    )
    # Two UUIDs hold 244 random bits from Postgres' own source of keys.
    op.execute(
        """INSERT INTO chat.log (room_secret)
           VALUES (decode(replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex'))"""
    )
    op.create_table(
        "events",
        sa.Column("room_id", sa.BigInteger(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("transaction_id", Xid8(), server_default=sa.text("pg_current_xact_id()"), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("event_id", sa.UUID(), nullable=False),
        sa.Column("fingerprint", sa.Integer(), nullable=False),
        sa.Column("type", sa.SmallInteger(), nullable=False),
        sa.Column("version", sa.SmallInteger(), nullable=False),
        sa.Column("actor_id", sa.LargeBinary(), nullable=False),
        sa.Column("command_id", sa.LargeBinary(), nullable=False),
        sa.Column("actor_name", sa.Text(), nullable=False),
        sa.Column("data", postgresql.JSON(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("room_id", "sequence", name="events_pkey"),
        sa.UniqueConstraint("room_id", "event_id", name="events_event_id_key"),
        schema="chat",
    )
    op.create_index(
        "events_tail_idx",
        "events",
        [sa.text("((transaction_id::text)::bigint)"), "recorded_at"],
        schema="chat",
        postgresql_using="brin",
        postgresql_with={"autosummarize": "on"},
    )
    op.create_table(
        "rooms",
        sa.Column("room_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("head", sa.BigInteger(), nullable=False),
        sa.Column("messages", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("changed", sa.BigInteger(), nullable=False),
        sa.Column("first_sequence", sa.BigInteger(), server_default="1", nullable=False),
        sa.Column("member_count", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("archived", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("room_id"),
        schema="chat",
        postgresql_with={"fillfactor": 50},
    )
    op.create_index(
        "rooms_public_idx",
        "rooms",
        ["created_at", "room_id"],
        schema="chat",
        postgresql_where=sa.text("kind = 'public'"),
    )
    op.create_index("rooms_created_at_idx", "rooms", ["created_at"], schema="chat")
    # What a name holds, three characters at a time: so parts of names are found without an extension of Postgres.
    op.execute(
        """CREATE FUNCTION chat.name_parts(name text) RETURNS text[]
           LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
           RETURN ARRAY(
             SELECT DISTINCT substr(lower(name), place, 3) FROM generate_series(1, length(lower(name)) - 2) AS place
           )"""
    )
    op.create_index(
        "rooms_name_idx", "rooms", [sa.text("chat.name_parts(name)")], schema="chat", postgresql_using="gin"
    )
    op.create_table(
        "members",
        sa.Column("room_id", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("invited_by", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("room_id", "user_id", name="members_pkey"),
        schema="chat",
    )
    op.create_index(
        "members_user_id_idx",
        "members",
        ["user_id", "room_id"],
        schema="chat",
        postgresql_include=["state", "sequence"],
    )
    op.create_index(
        "members_eldest_idx",
        "members",
        ["room_id", "sequence"],
        schema="chat",
        postgresql_where=sa.text("state = 'joined'"),
    )
    op.create_index(
        "members_invited_idx",
        "members",
        ["room_id", "invited_by"],
        schema="chat",
        postgresql_where=sa.text("state = 'invited'"),
    )
    op.create_table(
        "commands",
        sa.Column("room_id", sa.BigInteger(), nullable=False),
        sa.Column("command_key", sa.UUID(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("fingerprint", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("room_id", "command_key", name="commands_pkey"),
        schema="chat",
    )


def downgrade() -> None:
    op.drop_table("commands", schema="chat")
    op.drop_table("members", schema="chat")
    op.drop_table("rooms", schema="chat")
    op.execute("DROP FUNCTION chat.name_parts")
    op.drop_table("events", schema="chat")
    op.drop_table("log", schema="chat")
    op.execute("DROP SCHEMA chat")
