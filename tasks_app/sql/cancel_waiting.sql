-- Purpose: first half of a cancel, and all of a stop: what was not delivered never will be.
-- Locks: the rows, after the task (tasks_lock); waits for claims of the same rows and then leaves
--        alone what they took.
-- Index: idx_commands_task_id, idx_command_hosts_command_status; or, where statistics know of few
--        open rows, all of these once: idx_command_hosts_deadline, idx_command_hosts_status.
WITH locked AS (
    SELECT
        row.id,
        row.status AS old_status
    FROM commands AS command
    INNER JOIN commands_hosts AS row ON command.id = row.command_id
    WHERE command.task_id = %(task)s AND row.status IN ('pending', 'blocked')
    ORDER BY row.id
    FOR NO KEY UPDATE OF row
)

UPDATE commands_hosts AS row SET
    status = 'canceled',
    finished_at = statement_timestamp(), -- now() is before the request, which this transaction made
    revision = pg_current_xact_id()::text::bigint
FROM locked
WHERE row.id = locked.id
RETURNING row.id, row.task_id, row.host_id, row.command_id, locked.old_status, row.status
