"""What users were told of, in a log of each user's own, and where their browsers are pushed to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None


def number(name: str, *, nullable: bool = False, default: str | None = None) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=nullable, server_default=default)


def text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=False)


def upgrade() -> None:
    now = sa.text("clock_timestamp()")
    op.create_table(
        "inboxes",
        text("user_id"),
        number("head"),
        number("pushed", default="0"),
        sa.Column("push_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("user_id", name="inboxes_pkey"),
        schema="chat",
        postgresql_with={"fillfactor": 70},
    )
    waiting = sa.text("push_at IS NOT NULL")
    op.create_index("inboxes_push_at_idx", "inboxes", ["push_at"], schema="chat", postgresql_where=waiting)
    op.create_table(
        "notifications",
        text("user_id"),
        number("sequence"),
        sa.Column("event_id", sa.UUID(), nullable=False),
        text("cause"),
        text("type"),
        number("room_id"),
        number("event_sequence"),
        number("message", nullable=True),
        text("actor_id"),
        text("actor_name"),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("read_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("user_id", "sequence", name="notifications_pkey"),
        sa.UniqueConstraint("user_id", "event_id", name="notifications_event_id_key"),
        schema="chat",
    )
    for name, columns, where in (
        ("unread", ["user_id", "room_id", "event_sequence"], sa.text("read_at IS NULL")),
        ("at", ["at"], None),
        ("room", ["room_id", "event_sequence"], None),
        ("actor", ["actor_id"], None),
    ):
        op.create_index(f"notifications_{name}_idx", "notifications", columns, schema="chat", postgresql_where=where)
    op.create_table(
        "push_subscriptions",
        sa.Column("endpoint_hash", sa.LargeBinary(), nullable=False),
        text("user_id"),
        text("endpoint"),
        sa.Column("p256dh", sa.LargeBinary(), nullable=False),
        sa.Column("auth", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=now),
        sa.PrimaryKeyConstraint("endpoint_hash", name="push_subscriptions_pkey"),
        schema="chat",
    )
    op.create_index("push_subscriptions_user_idx", "push_subscriptions", ["user_id", "created_at"], schema="chat")


def downgrade() -> None:
    for table in ("push_subscriptions", "notifications", "inboxes"):
        op.drop_table(table, schema="chat")
