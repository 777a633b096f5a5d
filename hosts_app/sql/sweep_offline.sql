-- Purpose: declares hosts offline that were silent longer than %(seconds)s.
-- Locks: the heartbeats in question, in host order; those being written are skipped, as they are
-- heard just now.
-- Index: the whole narrow table.
WITH silent AS MATERIALIZED (
    SELECT b.host_id
    FROM host_heartbeats b
    WHERE b.offline_at IS NULL
      AND b.last_seen_at < statement_timestamp() - make_interval(secs => %(seconds)s)
    ORDER BY b.host_id
    FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE host_heartbeats b
SET offline_at = statement_timestamp()
FROM silent
WHERE b.host_id = silent.host_id
RETURNING b.host_id
