-- Purpose: which of these hosts, whose slots are full now, have more that they could be given: they are
--          looked at again when a slot gets free, the others are not.
-- Locks: none; after the claim in the same transaction.
-- Index: idx_command_hosts_claimable, tasks_pkey. Ordered, so that with pin_order no other index can look
--        cheaper.
SELECT host_id
FROM unnest(%(hosts)s::bigint []) AS asked (host_id)
WHERE
    (
        SELECT row.id
        FROM commands_hosts AS row
        WHERE
            row.host_id = asked.host_id
            AND row.status = 'pending'
            AND (SELECT task.status FROM tasks AS task WHERE task.id = row.task_id) = 'running'
            AND row.deadline > now()
            AND (row.not_before IS NULL OR row.not_before <= now())
        ORDER BY row.priority DESC, row.id ASC
        LIMIT 1
    ) IS NOT NULL
