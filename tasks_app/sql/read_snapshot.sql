-- Purpose: the oldest transaction still at work. Whatever commits later was begun by it or after it,
--          so rows with this revision or a greater one are all that a reader may not have seen.
-- Locks: none.
-- Index: none.
SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS xmin
