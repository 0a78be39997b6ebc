"""The events of a batch are sent to Postgres as rows of one type, instead of as an array for each column."""

from __future__ import annotations

from alembic import op

revision = "0042"
down_revision = "0041"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
      CREATE TYPE chat.new_event AS (
        room_id bigint, ordinal bigint, number bigint, event_id uuid, type smallint, version smallint, actor_id bytea,
        actor_name text, command_id bytea, fingerprint int, data json
      )
    """)


def downgrade() -> None:
    op.execute("DROP TYPE chat.new_event")
