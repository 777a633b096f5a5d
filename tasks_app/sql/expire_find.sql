-- Purpose: rows whose time is over, and pending rows of "fail at once" tasks on offline hosts; an
--          unlocked read, only to know which tasks to lock.
-- Locks: none.
-- Index: idx_command_hosts_deadline; idx_tasks_status, idx_commands_task_id,
--        idx_command_hosts_command_status.
(
    SELECT
        id,
        task_id
    FROM commands_hosts
    WHERE status IN ('pending', 'claimed', 'running') AND deadline < now()
    ORDER BY deadline
    LIMIT %(limit)s
)
UNION
(
    SELECT
        row.id,
        row.task_id
    FROM tasks AS task
    CROSS JOIN LATERAL (
        SELECT step.id
        FROM commands AS step
        WHERE step.task_id = task.id
        OFFSET 0
    ) AS command
    CROSS JOIN LATERAL (
        SELECT
            entry.id,
            entry.task_id,
            entry.host_id
        FROM commands_hosts AS entry
        WHERE entry.command_id = command.id AND entry.status = 'pending'
        OFFSET 0
    ) AS row
    INNER JOIN host_heartbeats AS heartbeat ON row.host_id = heartbeat.host_id
    WHERE
        task.status = 'running'
        AND task.offline_policy = 'fail'
        AND heartbeat.offline_at IS NOT NULL
    LIMIT %(limit)s
)
