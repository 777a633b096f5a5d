-- Purpose: which of the hosts that a gateway holds have something to be told: pending work of a running
--          task, or a cancel that was not settled yet. Finds what no wake was heard for.
-- Locks: none.
-- Index: idx_command_hosts_claimable, idx_command_hosts_in_flight, idx_tasks_status.
--        OFFSET 0 keeps the planner from reading the open rows of all hosts into a table instead.
SELECT host_id
FROM unnest(%(hosts)s::bigint []) AS held (host_id)
WHERE
    EXISTS (
        SELECT
        FROM commands_hosts AS row
        WHERE
            row.host_id = held.host_id
            AND row.status = 'pending'
            AND (SELECT task.status FROM tasks AS task WHERE task.id = row.task_id) = 'running'
            AND row.deadline > now()
            AND (row.not_before IS NULL OR row.not_before <= now())
        OFFSET 0
    )
    OR EXISTS (
        SELECT
        FROM commands_hosts AS row
        WHERE
            row.host_id = held.host_id
            AND row.status IN ('claimed', 'running')
            AND row.cancel_requested_at IS NOT NULL
        OFFSET 0
    )
