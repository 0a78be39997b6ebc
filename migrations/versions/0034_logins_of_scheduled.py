"""By which login a message was scheduled, and a browser subscribed: both end with it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0034"
down_revision = "0033"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("scheduled", "push_subscriptions"):
        op.add_column(table, sa.Column("login", sa.Text(), nullable=False, server_default=""), schema="chat")
        op.add_column(table, sa.Column("issued_at", sa.Double()), schema="chat")
    op.add_column("scheduled", sa.Column("kicks", sa.Integer(), nullable=False, server_default="-1"), schema="chat")
    # What is scheduled already counts as scheduled now: nobody knows by which login.
    op.add_column(
        "scheduled",
        sa.Column(
            "scheduled_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("clock_timestamp()")
        ),
        schema="chat",
    )


def downgrade() -> None:
    for column in ("scheduled_at", "kicks"):
        op.drop_column("scheduled", column, schema="chat")
    for table in ("push_subscriptions", "scheduled"):
        op.drop_column(table, "issued_at", schema="chat")
        op.drop_column(table, "login", schema="chat")
