"""Usernames by a key that no collation has a say in, what they look like, and avatars; accounts that were deleted."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

# Usernames are ASCII, and of ASCII alone collation "C" knows the other case, in every database.
_DOUBLES = """
DO $$
DECLARE doubles text;
BEGIN
    SELECT string_agg(names, '; ') INTO doubles FROM (
        SELECT string_agg(username, ', ' ORDER BY created_at) AS names FROM auth.users WHERE username IS NOT NULL
        GROUP BY lower(username COLLATE "C") HAVING count(*) > 1
    ) AS found;
    IF doubles IS NOT NULL THEN
        RAISE EXCEPTION 'usernames that differ in case alone: %. Rename or delete all but one of each.', doubles;
    END IF;
END
$$
"""
# What users look like who are there already; of two that look alike the elder keeps the look.
_LOOKS = """
INSERT INTO auth.username_skeletons (skeleton, user_id)
SELECT replace(translate(look, 'I1|0', 'lllO'), 'm', 'rn'), id
FROM auth.users CROSS JOIN LATERAL (VALUES (username), (username_key)) AS looks (look)
WHERE username IS NOT NULL ORDER BY created_at, id
ON CONFLICT DO NOTHING
"""


def upgrade() -> None:
    op.execute(_DOUBLES)
    op.add_column("users", sa.Column("username_key", sa.Text(collation="C"), nullable=True), schema="auth")
    op.add_column("users", sa.Column("avatar_url", sa.Text(), nullable=True), schema="auth")
    op.execute('UPDATE auth.users SET username_key = lower(username COLLATE "C") WHERE username IS NOT NULL')
    op.drop_index("users_username_key", "users", schema="auth")
    op.create_index("users_username_key", "users", ["username_key"], unique=True, schema="auth")
    op.create_table(
        "username_skeletons",
        sa.Column("skeleton", sa.Text(collation="C"), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["auth.users.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("skeleton"),
        schema="auth",
    )
    op.create_index("username_skeletons_user_id_idx", "username_skeletons", ["user_id"], schema="auth")
    op.execute(_LOOKS)
    op.create_table(
        "deletions",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column(
            "requested_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("erasure", sa.Text(), nullable=True),
        sa.Column("once_more", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("user_id"),
        schema="auth",
    )
    op.create_index(
        "deletions_open_idx", "deletions", ["next_at"], schema="auth",
        postgresql_where=sa.text("completed_at IS NULL"),
    )  # fmt: skip


def downgrade() -> None:
    op.drop_table("deletions", schema="auth")
    op.drop_table("username_skeletons", schema="auth")
    op.drop_index("users_username_key", "users", schema="auth")
    op.create_index("users_username_key", "users", [sa.literal_column("lower(username)")], unique=True, schema="auth")
    op.drop_column("users", "avatar_url", schema="auth")
    op.drop_column("users", "username_key", schema="auth")
