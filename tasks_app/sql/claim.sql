-- Purpose: hands pending rows of running tasks to the hosts that asked, up to their free slots,
--          highest priority first, oldest first.
-- Locks: the rows, FOR UPDATE SKIP LOCKED, under the hosts' locks (poll_lock, a statement of its own
--        before this one: counted and locked in one statement, the count is older than the lock).
-- Index: idx_command_hosts_claimable; tasks_pkey, commands_pkey. The task is asked for in
--        a query of its own: joined, each host could read all tasks that run.
WITH asked AS (
    SELECT *
    FROM unnest(
        %(hosts)s::bigint [], %(free)s::int [], %(journals)s::uuid [], %(instances)s::uuid [],
        %(runs)s::bigint [], %(seqs)s::bigint []
    ) AS polls (host_id, free, journal_id, instance_id, run, seq)
),

picked AS (
    SELECT
        asked.*,
        pending.id
    FROM asked
    CROSS JOIN LATERAL (
        SELECT row.id
        FROM commands_hosts AS row
        WHERE
            row.host_id = asked.host_id
            AND row.status = 'pending'
            AND (SELECT task.status FROM tasks AS task WHERE task.id = row.task_id) = 'running'
            AND row.deadline > now()
            AND (row.not_before IS NULL OR row.not_before <= now())
        ORDER BY row.priority DESC, row.id ASC
        LIMIT asked.free
        FOR UPDATE OF row SKIP LOCKED
    ) AS pending
)

UPDATE commands_hosts AS row SET
    status = 'claimed',
    attempt = row.attempt + 1,
    fence = (lpad(to_hex(row.id), 12, '0') || '-8' || substr(gen_random_uuid()::text, 16))::uuid,
    claimed_at = now(),
    deadline = now() + make_interval(secs => command.timeout_seconds + %(grace_seconds)s::float8),
    delivered_journal = picked.journal_id,
    delivered_instance = picked.instance_id,
    delivered_run = picked.run,
    delivered_seq = picked.seq,
    revision = pg_current_xact_id()::text::bigint
FROM picked, commands AS command
WHERE
    row.id = picked.id
    AND command.id = row.command_id
RETURNING
    row.id, row.task_id, row.host_id, row.command_id, 'pending' AS old_status, row.status,
    row.fence, row.attempt, command.command_id AS command_uuid
