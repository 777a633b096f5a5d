-- Purpose: the rows of one task that moved since a cursor, in order of id, one page of them.
-- Locks: none.
-- Index: idx_commands_task_id, idx_command_hosts_command_status, hosts_pkey.
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
INNER JOIN commands_hosts AS entry ON command.id = entry.command_id
INNER JOIN hosts AS host ON entry.host_id = host.id
WHERE
    command.task_id = %(task)s
    AND entry.revision >= %(since)s
    AND entry.id > %(after)s
ORDER BY entry.id
LIMIT %(limit)s
