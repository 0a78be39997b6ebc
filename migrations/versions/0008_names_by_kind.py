"""Names of public rooms and of private ones in indices of their own: nobody looks for theirs among all others'."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

PARTS = sa.text("chat.name_parts(name)")


def upgrade() -> None:
    op.drop_index("rooms_name_idx", table_name="rooms", schema="chat")
    for name, other in (("rooms_name_idx", "private"), ("rooms_private_name_idx", "public")):
        where = sa.text(f"kind <> '{other}'")
        op.create_index(name, "rooms", [PARTS], schema="chat", postgresql_using="gin", postgresql_where=where)


def downgrade() -> None:
    op.drop_index("rooms_private_name_idx", table_name="rooms", schema="chat")
    op.drop_index("rooms_name_idx", table_name="rooms", schema="chat")
    op.create_index("rooms_name_idx", "rooms", [PARTS], schema="chat", postgresql_using="gin")
