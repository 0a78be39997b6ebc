"""What a ban or a suspension takes to be lifted: the right of whoever set it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0036"
down_revision = "0035"
branch_labels = None
depends_on = None

TABLES = {"bans": "banned_by", "suspensions": "suspended_by", "address_bans": "banned_by"}


def upgrade() -> None:
    for table, by in TABLES.items():
        column = sa.Column("right_to_lift", sa.Integer(), nullable=False, server_default="2")
        op.add_column(table, column, schema="auth")
        # What those who set it may today is the nearest that is known of then.
        op.execute(
            f"""
            UPDATE auth.{table} SET right_to_lift =
                CASE WHEN roles @> '{{admin}}' THEN 4 WHEN roles @> '{{admin:operate}}' THEN 3 ELSE 2 END
            FROM auth.users WHERE users.id = {table}.{by} AND {table}.lifted_at IS NULL
            """
        )


def downgrade() -> None:
    for table in TABLES:
        op.drop_column(table, "right_to_lift", schema="auth")
