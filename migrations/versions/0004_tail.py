"""Followers of the log: how far each is, and an index of the log's end that is fine enough to be asked for often."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def _tail_index(pages: int) -> None:
    op.drop_index("events_tail_idx", table_name="events", schema="chat")
    op.create_index(
        "events_tail_idx",
        "events",
        [sa.text("((transaction_id::text)::bigint)"), "recorded_at"],
        schema="chat",
        postgresql_using="brin",
        postgresql_with={"autosummarize": "on", "pages_per_range": pages},
    )


def upgrade() -> None:
    op.add_column(
        "log", sa.Column("transaction_offset", sa.BigInteger(), server_default="0", nullable=False), schema="chat"
    )
    op.add_column("log", sa.Column("mended", sa.BigInteger(), server_default="0", nullable=False), schema="chat")
    op.create_table(
        "consumers",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("events", sa.Text(), server_default="*", nullable=False),
        sa.Column("position", sa.Text(), nullable=False),
        sa.Column("batch", sa.Text(), server_default="", nullable=False),
        sa.Column("paused", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("skip", sa.UUID(), nullable=True),
        sa.Column("failing_event", sa.UUID(), nullable=True),
        sa.Column("failure", sa.Text(), server_default="", nullable=False),
        sa.Column("attempts", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("read_up_to", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("name", name="consumers_pkey"),
        schema="chat",
    )
    # What was committed before there were announcements, the gateways of that time have compared.
    op.execute(
        """INSERT INTO chat.consumers (name, position)
           SELECT 'announcements',
                  pg_snapshot_xmax(now) || ':' || array_to_string(ARRAY(SELECT pg_snapshot_xip(now)), ',')
           FROM pg_current_snapshot() AS now"""
    )
    _tail_index(32)
    # Short rounds of vacuum, since no summary of the log's end can be made during one.
    op.execute(
        """ALTER TABLE chat.events
           SET (autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 200000)"""
    )
    # Only the owner of an index may make summaries; chat is not to be that. The last blocks are left out: while one is
    # written, a summary would have to be written with each transaction.
    op.execute(
        """CREATE FUNCTION chat.summarize_tail(first_block bigint) RETURNS bigint
           LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
           DECLARE
             pages CONSTANT bigint := 32;
             last bigint := pg_relation_size('chat.events') / current_setting('block_size')::bigint / pages * pages;
             block bigint := greatest(first_block, last - 200 * pages) / pages * pages;
           BEGIN
             WHILE block < last LOOP
               PERFORM brin_summarize_range('chat.events_tail_idx', block);
               block := block + pages;
             END LOOP;
             RETURN last;
           END $$"""
    )


def downgrade() -> None:
    op.execute("DROP FUNCTION chat.summarize_tail")
    op.execute(
        """ALTER TABLE chat.events
           RESET (autovacuum_vacuum_insert_scale_factor, autovacuum_vacuum_insert_threshold)"""
    )
    _tail_index(128)
    op.drop_table("consumers", schema="chat")
    op.drop_column("log", "mended", schema="chat")
    op.drop_column("log", "transaction_offset", schema="chat")
