"""Names of rooms are folded as messages are in a search, and mentions are counted by user and room in any plan."""

from __future__ import annotations

from alembic import op

revision = "0039"
down_revision = "0038"
branch_labels = None
depends_on = None

# `folded` of `parley.chat.search.terms` says the same in Python. Accents and what is not seen are left out, small and
# capital letters and compatibility forms are one. Not STRICT: then it becomes part of the statement that calls it, and
# a name of ASCII costs no call.
_MARKS = r"[\u0300-\u036f\u0591-\u05c7\u0640\u064b-\u065f\u0670\u00ad\u200b-\u200f\u2060\ufeff]"
# Written as it is: a database of encoding SQL_ASCII, where names are only made small, knows no escape for it.
_BELOW = "\u0345"
_FOLDED = rf"""CREATE FUNCTION chat.folded(name text) RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN CASE WHEN octet_length(name) = length(name) THEN lower(name) ELSE
    normalize(replace(replace(replace(replace(
      translate(lower(regexp_replace(
        replace(normalize(name, NFKD), '{_BELOW}', 'ι'), '{_MARKS}', '', 'g'
      )), 'ςøłđıð', 'σoldid'),
    'ß', 'ss'), 'æ', 'ae'), 'œ', 'oe'), 'þ', 'th'), NFKC)
  END"""  # noqa: RUF001 - it is Greek
_PARTS = """CREATE OR REPLACE FUNCTION chat.name_parts(name text) RETURNS text[]
  LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
  RETURN ARRAY(
    SELECT DISTINCT substr(plain, place, 3)
    FROM (SELECT {folded}(name) AS plain OFFSET 0) one, generate_series(1, length(plain) - 2) AS place
  )"""
# Of a name of ASCII the parts stay what they are.
_REINDEX = """DO $$ BEGIN
  IF EXISTS (SELECT FROM chat.rooms WHERE octet_length(name) <> length(name)) THEN
    REINDEX INDEX chat.rooms_name_idx;
    REINDEX INDEX chat.rooms_private_name_idx;
  END IF;
END $$"""


def upgrade() -> None:
    op.execute(_FOLDED)
    op.execute(_PARTS.format(folded="chat.folded"))
    op.execute(_REINDEX)
    op.create_index("mentions_unread_idx", "mentions", ["user_id", "room_id", "sequence"], schema="chat")
    op.drop_index("mentions_user_idx", "mentions", schema="chat")


def downgrade() -> None:
    op.create_index("mentions_user_idx", "mentions", ["user_id"], schema="chat")
    op.drop_index("mentions_unread_idx", "mentions", schema="chat")
    op.execute(_PARTS.format(folded="lower"))
    op.execute(_REINDEX)
    op.execute("DROP FUNCTION chat.folded")
