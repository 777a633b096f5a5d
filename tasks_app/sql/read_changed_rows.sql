-- Purpose: the rows of one task that moved since a cursor, in order of id, one page of them.
-- Locks: none.
-- Index: idx_commands_task_id, idx_command_hosts_command_status or uniq_command_hosts_command_host,
--        hosts_pkey. OFFSET 0: the rows of the task's steps, never all rows in the order of their ids.
SELECT
    entry.id,
    command.command_id,
    entry.position,
    host.host_id,
    host.hostname,
    entry.status,
    entry.attempt,
    entry.exit_code,
    entry.error_code,
    entry.error_message,
    entry.execution_time,
    entry.claimed_at,
    entry.started_at,
    entry.finished_at,
    entry.cancel_state
FROM commands AS command
CROSS JOIN LATERAL (
    SELECT *
    FROM commands_hosts AS row
    WHERE
        row.command_id = command.id
        AND row.revision >= %(since)s
        AND row.id > %(after)s
    OFFSET 0
) AS entry
INNER JOIN hosts AS host ON entry.host_id = host.id
WHERE command.task_id = %(task)s
ORDER BY entry.id
LIMIT %(limit)s
