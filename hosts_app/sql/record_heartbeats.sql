-- Purpose: writes what hosts said of themselves, and the agents' versions where they changed.
-- last_seen_at is this statement's time; a figure left out keeps the last one. load_at is when the
-- figures were told: a held poll's are as old as the poll.
-- Locks: the hosts whose version changed, then host_heartbeats, each in host order.
-- Index: primary keys.
WITH given AS MATERIALIZED (
    SELECT b.*
    FROM unnest(%(hosts)s::bigint[], %(cpu)s::float8[], %(memory)s::float8[], %(load1)s::float8[],
                %(disk)s::float8[], %(running)s::integer[], %(skew)s::bigint[], %(boot)s::text[],
                %(version)s::text[], %(draining)s::boolean[], %(load_ages)s::float8[])
             AS b (host_id, cpu, memory, load1, disk, running, skew, boot, version, draining,
                   load_age)
    JOIN hosts h ON h.id = b.host_id
), outdated AS MATERIALIZED (
    SELECT h.id, g.version
    FROM hosts h
    JOIN given g ON g.host_id = h.id
    WHERE g.version <> '' AND h.agent_version <> g.version
    ORDER BY h.id
    FOR NO KEY UPDATE OF h
), versions AS (
    UPDATE hosts h SET agent_version = o.version FROM outdated o WHERE h.id = o.id
)
INSERT INTO host_heartbeats AS old (host_id, last_seen_at, cpu_percent, memory_percent, load1,
                                    disk_percent, running_count, clock_skew_ms, boot_id, draining,
                                    load_at, offline_at)
SELECT host_id, statement_timestamp(), cpu, memory, load1, disk, running, skew, boot, draining,
       statement_timestamp() - make_interval(secs => load_age), NULL
FROM given
ORDER BY host_id
ON CONFLICT (host_id) DO UPDATE
SET last_seen_at = GREATEST(old.last_seen_at, excluded.last_seen_at),
    cpu_percent = COALESCE(excluded.cpu_percent, old.cpu_percent),
    memory_percent = COALESCE(excluded.memory_percent, old.memory_percent),
    load1 = COALESCE(excluded.load1, old.load1),
    disk_percent = COALESCE(excluded.disk_percent, old.disk_percent),
    running_count = excluded.running_count,
    clock_skew_ms = COALESCE(excluded.clock_skew_ms, old.clock_skew_ms),
    boot_id = COALESCE(NULLIF(excluded.boot_id, ''), old.boot_id),
    draining = excluded.draining,
    load_at = COALESCE(excluded.load_at, old.load_at),
    offline_at = NULL
