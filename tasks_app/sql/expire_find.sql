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
    INNER JOIN commands AS command ON task.id = command.task_id
    INNER JOIN commands_hosts AS row ON command.id = row.command_id AND row.status = 'pending'
    INNER JOIN host_heartbeats AS heartbeat ON row.host_id = heartbeat.host_id
    WHERE
        task.status = 'running'
        AND task.offline_policy = 'fail'
        AND heartbeat.offline_at IS NOT NULL
    LIMIT %(limit)s
)
