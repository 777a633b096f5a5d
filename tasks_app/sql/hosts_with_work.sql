-- Purpose: which of these hosts have something to be told: pending work of a running task, or a cancel
--          that was not settled yet. Of all that a gateway holds it finds what no wake was heard for; of
--          those whose slots a look-up filled, who is to be looked at when one gets free.
-- Locks: none.
-- Index: idx_command_hosts_claimable, idx_command_hosts_in_flight, tasks_pkey. Ordered, so that with
--        pin_order no other index can look cheaper: read by deadline, the open rows of all hosts were
--        read for each host.
SELECT host_id
FROM unnest(%(hosts)s::bigint []) AS held (host_id)
WHERE
    (
        SELECT row.id
        FROM commands_hosts AS row
        WHERE
            row.host_id = held.host_id
            AND row.status = 'pending'
            AND (SELECT task.status FROM tasks AS task WHERE task.id = row.task_id) = 'running'
            AND row.deadline > now()
            AND (row.not_before IS NULL OR row.not_before <= now())
        ORDER BY row.priority DESC, row.id ASC
        LIMIT 1
    ) IS NOT NULL
    OR EXISTS (
        SELECT
        FROM commands_hosts AS row
        WHERE
            row.host_id = held.host_id
            AND row.fence IS NOT NULL
            AND row.finished_at IS NULL
            AND row.cancel_requested_at IS NOT NULL
        OFFSET 0
    )
