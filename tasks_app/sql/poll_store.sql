-- Purpose: makes accepted polls the newest of their hosts, and retires the journals and instances
--          that they replace.
-- Locks: host_sessions rows, under the hosts' locks.
-- Index: host_sessions_pkey, uniq_host_retired_identity.
WITH given AS (
    SELECT *
    FROM unnest(
        %(hosts)s::bigint [], %(journals)s::uuid [], %(runs)s::bigint [], %(seqs)s::bigint [],
        %(instances)s::uuid []
    ) AS polls (host_id, journal_id, run, seq, instance_id)
),

replaced AS (
    SELECT
        stored.host_id,
        stored.run,
        stored.seq,
        gone.identity
    FROM given
    INNER JOIN host_sessions AS stored ON given.host_id = stored.host_id
    CROSS JOIN LATERAL (
        SELECT stored.journal_id AS identity WHERE stored.journal_id <> given.journal_id
        UNION ALL
        SELECT stored.instance_id WHERE stored.instance_id <> given.instance_id
    ) AS gone
),

retired AS (
    INSERT INTO host_retired_identities (host_id, identity, run, seq, retired_at)
    SELECT
        host_id,
        identity,
        run,
        seq,
        now()
    FROM replaced
    ON CONFLICT (host_id, identity) DO UPDATE SET run = excluded.run, seq = excluded.seq
)

INSERT INTO host_sessions AS stored
    (host_id, journal_id, run, seq, instance_id, instance_seen_at)
SELECT
    host_id,
    journal_id,
    run,
    seq,
    instance_id,
    now()
FROM given
ON CONFLICT (host_id) DO UPDATE SET
    journal_id = excluded.journal_id,
    run = excluded.run,
    seq = excluded.seq,
    instance_id = excluded.instance_id,
    instance_seen_at = CASE
        WHEN stored.instance_id = excluded.instance_id THEN stored.instance_seen_at
        ELSE excluded.instance_seen_at
    END
RETURNING
    stored.host_id,
    extract(EPOCH FROM now() - stored.instance_seen_at)::float8 AS instance_age_seconds
