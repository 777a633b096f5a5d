-- Purpose: what is stored of these hosts' journals; read under the hosts' locks (poll_lock).
-- Locks: none of its own.
-- Index: host_sessions_pkey.
SELECT
    host_id,
    journal_id,
    run,
    seq,
    instance_id,
    extract(EPOCH FROM now() - instance_seen_at)::float8 AS instance_age_seconds
FROM host_sessions
WHERE host_id = ANY(%(hosts)s::bigint [])
