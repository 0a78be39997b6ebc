"""The statements that searches consist of, and how Postgres is to plan them."""

from __future__ import annotations

from parley.chat.domain.messages import MessageSent
from parley.chat.log.statements import EVENT_COLUMNS
from parley.chat.queries.visibility import EXISTING, VISIBLE
from parley.chat.search.term_index import PUBLIC

STATEMENT_SECONDS = 2

# Always by keys, and part after part, whatever Postgres believes of the tables.
SESSION = {
    "enable_seqscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off", "enable_memoize": "off",
    "enable_material": "off", "plan_cache_mode": "force_generic_plan",
    "statement_timeout": f"{STATEMENT_SECONDS}s",
}  # fmt: skip

MOST_WALKED = 16
"""Messages of one private room that are looked at one by one, before its part of the index is asked instead."""

LOOKING = {
    # The end of the log has a block range index, which only bitmap scans use; any other index would be read whole.
    "enable_seqscan": "off", "enable_indexscan": "off", "enable_indexonlyscan": "off",
    "statement_timeout": f"{STATEMENT_SECONDS}s",
}  # fmt: skip

ROOM = f"SELECT r.room_id, r.kind FROM chat.rooms r WHERE r.room_id = $2 AND {VISIBLE}"
# A scope that is asked for, and where it is all that may be read, the user's private rooms.
MAY_READ = f"""(
  SELECT $2::bigint AS scope UNION ALL
  SELECT r.room_id FROM chat.members own CROSS JOIN LATERAL (
    SELECT room_id, kind FROM chat.rooms WHERE room_id = own.room_id LIMIT 1
  ) r WHERE $3 AND own.user_id = $1 AND r.kind <> 'public' AND {EXISTING}
) s"""
# With the time of the newest message of each.
SCOPES = f"""
SELECT s.scope, p.latest FROM {MAY_READ} CROSS JOIN LATERAL (
  SELECT latest FROM chat.search_parts WHERE scope = s.scope ORDER BY starts DESC LIMIT 1
) p ORDER BY p.latest DESC
"""
# The same with the time of the newest message before a moment: of a private room its own, of the public ones that of
# the part that the moment is in. Without it, any of a thousand rooms might have the newest match of some day long ago.
SCOPES_BEFORE = f"""
SELECT s.scope, coalesce(p.latest, q.recorded_at) FROM {MAY_READ} LEFT JOIN LATERAL (
  SELECT least(latest, $4::timestamptz) AS latest FROM chat.search_parts
  WHERE s.scope = {PUBLIC} AND scope = s.scope AND starts <= $4::timestamptz ORDER BY starts DESC LIMIT 1
) p ON true LEFT JOIN LATERAL (
  SELECT recorded_at FROM chat.search
  WHERE s.scope <> {PUBLIC} AND room_id = s.scope AND recorded_at <= $4::timestamptz ORDER BY recorded_at DESC LIMIT 1
) q ON true WHERE coalesce(p.latest, q.recorded_at) IS NOT NULL ORDER BY 2 DESC
"""
# The limits make Postgres stop within a scope once a page of it is full: its parts come by the index in their order,
# and none after the one that fills the page is looked into. OFFSET 0 keeps the times out of reach of the index by room
# and time: in a log of a million messages Postgres would read all of that to narrow down what the terms have found.
FIND = """
SELECT hit.* FROM unnest($1::bigint[]) AS asked(scope) CROSS JOIN LATERAL (
  SELECT found.* FROM (
    SELECT p.scope, p.starts, p.part FROM chat.search_parts p
    WHERE p.scope = asked.scope AND p.starts <= least($3::timestamptz, $7::timestamptz) AND p.starts >= coalesce((
      SELECT max(b.starts) FROM chat.search_parts b WHERE b.scope = asked.scope AND b.starts <= $6::timestamptz
    ), '-infinity') ORDER BY p.starts DESC
  ) p CROSS JOIN LATERAL (
    SELECT array_agg(term # p.scope # p.part) AS terms FROM unnest($2::bigint[]) AS term
  ) keys CROSS JOIN LATERAL (
    SELECT s.room_id, s.sequence, s.text_sequence, s.recorded_at FROM (
      SELECT * FROM chat.search WHERE terms @> keys.terms OFFSET 0
    ) s
    WHERE (s.recorded_at, s.room_id, s.sequence) < ($3::timestamptz, $4::bigint, $5::bigint)
      AND s.recorded_at >= $6::timestamptz AND s.recorded_at < $7::timestamptz
    ORDER BY s.recorded_at DESC, s.room_id DESC, s.sequence DESC LIMIT $8::int
  ) found LIMIT $8::int
) hit ORDER BY hit.recorded_at DESC, hit.room_id DESC, hit.sequence DESC LIMIT $8::int
"""
_PART = """FROM chat.search_parts p
WHERE p.scope = asked.scope AND p.starts <= least($3::timestamptz, $7::timestamptz) ORDER BY p.starts DESC"""
_PART_TERMS = f"SELECT (SELECT array_agg(term # p.scope # p.part) FROM unnest($2::bigint[]) AS term) {_PART}"
# The messages of a private room between two moments, the newest first, and which of them match; `seen` says how many it
# looked at. Where a word is common this is much less than all messages of a part that have it. So few messages are
# mostly in two parts; a message has the terms of its own part alone, so those of both are made once, and each is
# compared. A room of which these messages are in more parts counts as one with too many.
WALK = f"""
SELECT asked.scope, walked.seen, hit.* FROM unnest($1::bigint[]) AS asked(scope) CROSS JOIN LATERAL (
  SELECT ({_PART_TERMS} LIMIT 1) AS newest, ({_PART_TERMS} OFFSET 1 LIMIT 1) AS older,
    (SELECT p.starts {_PART} OFFSET 1 LIMIT 1) AS older_starts OFFSET 0
) keys CROSS JOIN LATERAL (
  SELECT CASE WHEN min(recorded_at) < keys.older_starts THEN {MOST_WALKED} ELSE count(*) END AS seen,
    array_agg(sequence) FILTER (WHERE matches) AS sequences
  FROM (
    SELECT s.sequence, s.recorded_at, s.terms @> keys.newest OR s.terms @> keys.older AS matches FROM chat.search s
    WHERE s.room_id = asked.scope AND (s.recorded_at, s.room_id, s.sequence) < ($3::timestamptz, $4::bigint, $5::bigint)
      AND s.recorded_at >= $6::timestamptz AND s.recorded_at < $7::timestamptz AND s.recorded_at <= $3::timestamptz
    ORDER BY s.recorded_at DESC LIMIT {MOST_WALKED}
  ) newest
) walked LEFT JOIN LATERAL (
  SELECT s.room_id, s.sequence, s.text_sequence, s.recorded_at FROM unnest(walked.sequences) AS at
  CROSS JOIN LATERAL (
    SELECT room_id, sequence, text_sequence, recorded_at FROM chat.search
    WHERE room_id = asked.scope AND sequence = at LIMIT 1
  ) s
) hit ON true
"""
READ = f"""
SELECT q.ordinal, e.* FROM unnest($2::bigint[], $3::bigint[]) WITH ORDINALITY AS q(key, at, ordinal)
CROSS JOIN LATERAL (SELECT r.room_id FROM chat.rooms r WHERE r.room_id = q.key AND {VISIBLE} LIMIT 1) seen
CROSS JOIN LATERAL (
  SELECT {EVENT_COLUMNS} FROM chat.events e WHERE e.room_id = seen.room_id AND e.sequence = q.at LIMIT 1
) e
"""
PLACE = "SELECT position FROM chat.consumers WHERE name = $1"
BEHIND = f"""
SELECT EXISTS (
  SELECT FROM chat.events e WHERE (e.transaction_id::text)::bigint >= $1 AND e.type = {MessageSent.NUMBER}
    AND e.recorded_at < clock_timestamp() - $2::interval
)
"""


def local(settings: dict[str, str]) -> str:
    """Return the statements that set these for a transaction."""
    return "; ".join(f"SET LOCAL {name} = '{value}'" for name, value in settings.items())
