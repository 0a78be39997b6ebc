"""Files that reports keep when their messages are deleted; and what secrets of API keys left to be done no more."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0041"
down_revision = "0039"
branch_labels = None
depends_on = None


def _states(*names: str) -> None:
    op.drop_constraint("uploads_state_check", "uploads", schema="chat", type_="check")
    listed = ", ".join(f"'{name}'" for name in names)
    op.create_check_constraint("uploads_state_check", "uploads", f"state IN ({listed})", schema="chat")


def upgrade() -> None:
    _states("pending", "checking", "ready", "attached", "kept", "gone")
    op.create_index(
        "uploads_kept_idx", "uploads", ["upload_id"], schema="chat", postgresql_where=sa.text("state = 'kept'")
    )
    op.create_index("reports_message_idx", "reports", ["room_id", "message"], schema="chat")
    op.add_column("api_keys", sa.Column("cut_off_since", sa.DateTime(timezone=True)), schema="auth")


def downgrade() -> None:
    op.drop_column("api_keys", "cut_off_since", schema="auth")
    op.drop_index("reports_message_idx", "reports", schema="chat")
    op.drop_index("uploads_kept_idx", "uploads", schema="chat")
    # Their messages are gone, and so they were to be.
    op.execute(
        "UPDATE chat.uploads SET state = 'gone', expires_at = clock_timestamp(), room_id = NULL WHERE state = 'kept'"
    )
    _states("pending", "checking", "ready", "attached", "gone")
