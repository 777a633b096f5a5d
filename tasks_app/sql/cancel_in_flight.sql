-- Purpose: second half of a cancel, on a fresh snapshot: what was delivered is asked to end, and has
--          until the deadline to say so. The agent's report decides, else the row is lost.
-- Locks: the rows in id order, after the task.
-- Index: idx_commands_task_id, idx_command_hosts_command_status; or, where statistics know of few
--        open rows, all of these once: idx_command_hosts_deadline.
WITH locked AS (
    SELECT row.id
    FROM commands AS command
    INNER JOIN commands_hosts AS row ON command.id = row.command_id
    WHERE
        command.task_id = %(task)s
        AND row.status IN ('claimed', 'running')
        AND row.cancel_requested_at IS NULL
    ORDER BY row.id
    FOR NO KEY UPDATE OF row
)

UPDATE commands_hosts AS row SET
    cancel_requested_at = now(),
    cancel_state = 'requested',
    deadline = least(row.deadline, now() + make_interval(secs => %(cancel_seconds)s::float8)),
    revision = pg_current_xact_id()::text::bigint
FROM locked
WHERE row.id = locked.id
RETURNING row.id, row.host_id
