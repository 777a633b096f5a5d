-- Purpose: rows whose time is over, and pending rows of "fail at once" tasks on offline hosts; an
--          unlocked read, only to know which tasks to lock.
-- Locks: none.
-- Index: idx_command_hosts_deadline; idx_tasks_status, idx_commands_task_id,
--        idx_command_hosts_command_status or uniq_command_hosts_command_host. From the tasks down: one
--        sample of statistics in many made the heartbeats of all hosts look like the place to begin.
--        The state is judged above the steps' rows: with a quiet hour's statistics the indexes of all
--        open rows looked as good.
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
        WHERE step.task_id = task.id AND step.pending_rows > 0
        OFFSET 0
    ) AS command
    CROSS JOIN LATERAL (
        SELECT
            entry.id,
            entry.task_id,
            entry.host_id,
            entry.status
        FROM commands_hosts AS entry
        WHERE entry.command_id = command.id
        OFFSET 0
    ) AS row
    CROSS JOIN LATERAL (
        SELECT last.offline_at
        FROM host_heartbeats AS last
        WHERE last.host_id = row.host_id
        OFFSET 0
    ) AS heartbeat
    WHERE
        task.status = 'running'
        AND task.offline_policy = 'fail'
        AND row.status = 'pending'
        AND heartbeat.offline_at IS NOT NULL
    LIMIT %(limit)s
)
