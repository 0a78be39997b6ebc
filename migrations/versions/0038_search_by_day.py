"""An index of each room's messages by time: a search before some day looks only into rooms that were lively then."""

from __future__ import annotations

from alembic import op

revision = "0038"
down_revision = "0037"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("search_room_idx", "search", ["room_id", "recorded_at"], schema="chat")


def downgrade() -> None:
    op.drop_index("search_room_idx", "search", schema="chat")
