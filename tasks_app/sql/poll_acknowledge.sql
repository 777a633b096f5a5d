-- Purpose: claimed rows whose fence the agent lists are running: the acknowledgement of the start.
--          A cancel has brought the deadline forward already, and keeps it.
-- Locks: the rows in id order, under the hosts' locks; before commands (counts_*).
-- Index: commands_hosts_pkey.
WITH locked AS (
    SELECT
        id,
        status AS old_status
    FROM commands_hosts
    WHERE id = ANY(%(rows)s::bigint [])
    ORDER BY id
    FOR NO KEY UPDATE
)

UPDATE commands_hosts AS row SET
    status = 'running',
    started_at = now(),
    deadline = CASE
        WHEN row.cancel_requested_at IS NOT NULL THEN row.deadline
        ELSE
            now()
            + make_interval(secs => command.timeout_seconds + %(grace_seconds)s::float8)
    END,
    revision = pg_current_xact_id()::text::bigint
FROM locked, commands AS command
WHERE
    row.id = locked.id
    AND locked.old_status = ANY(%(sources)s::text [])
    AND command.id = row.command_id
RETURNING row.id, row.task_id, row.host_id, row.command_id, locked.old_status, row.status
