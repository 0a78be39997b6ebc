"""What users are writing, and what they have scheduled."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None


def number(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=nullable)


def text(name: str, default: str | None = None) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=False, server_default=default)


def moment(name: str, *, nullable: bool = False, default: sa.TextClause | None = None) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable, server_default=default)


def upgrade() -> None:
    op.create_table(
        "drafts",
        text("user_id"),
        number("room_id"),
        number("thread"),
        text("body"),
        number("reply_to", nullable=True),
        moment("updated_at", default=sa.text("clock_timestamp()")),
        sa.PrimaryKeyConstraint("user_id", "room_id", "thread", name="drafts_pkey"),
        schema="chat",
    )
    op.create_index("drafts_room_idx", "drafts", ["room_id"], schema="chat")
    op.create_table(
        "scheduled",
        text("user_id"),
        text("id"),
        number("room_id"),
        text("name"),
        text("message"),
        moment("due_at"),
        moment("try_at", nullable=True),
        moment("held_until", nullable=True),
        text("failure", ""),
        text("reason", ""),
        sa.PrimaryKeyConstraint("user_id", "id", name="scheduled_pkey"),
        schema="chat",
    )
    waiting = sa.text("try_at IS NOT NULL")
    op.create_index("scheduled_try_at_idx", "scheduled", ["try_at"], schema="chat", postgresql_where=waiting)
    op.create_index("scheduled_room_idx", "scheduled", ["room_id"], schema="chat")


def downgrade() -> None:
    op.drop_table("scheduled", schema="chat")
    op.drop_table("drafts", schema="chat")
