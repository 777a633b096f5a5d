-- Purpose: claimed rows that never arrived are delivered again under the same fence.
-- Locks: the rows, under the hosts' locks.
-- Index: commands_hosts_pkey.
WITH given AS (
    SELECT *
    FROM unnest(
        %(rows)s::bigint [], %(journals)s::uuid [], %(instances)s::uuid [], %(runs)s::bigint [],
        %(seqs)s::bigint []
    ) AS polls (id, journal_id, instance_id, run, seq)
),

locked AS (
    SELECT
        id,
        status AS old_status
    FROM commands_hosts
    WHERE id = ANY(%(rows)s::bigint [])
    ORDER BY id
    FOR NO KEY UPDATE
)

UPDATE commands_hosts AS row SET
    claimed_at = now(),
    deadline = now() + make_interval(secs => command.timeout_seconds + %(grace_seconds)s::float8),
    delivered_journal = given.journal_id,
    delivered_instance = given.instance_id,
    delivered_run = given.run,
    delivered_seq = given.seq,
    revision = pg_current_xact_id()::text::bigint
FROM locked, given, commands AS command
WHERE
    row.id = locked.id
    AND given.id = locked.id
    AND locked.old_status = 'claimed'
    AND row.cancel_requested_at IS NULL
    AND command.id = row.command_id
RETURNING row.id, row.host_id, row.command_id, row.fence, row.attempt, command.command_id AS command_uuid
