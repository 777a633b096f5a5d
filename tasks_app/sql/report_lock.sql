-- Purpose: locks the tasks that a batch of results belongs to, in a statement of its own; the rows are
--          looked up without a lock, only to know which. Says of each task what tasks_steps says, which
--          here is as good before the lock: steps are never added to a task that runs, and the rows
--          that wait for one that is reported were made with it.
-- Locks: tasks FOR NO KEY UPDATE in id order.
-- Index: commands_hosts_pkey, tasks_pkey, idx_commands_task_id.
WITH found AS MATERIALIZED (
    SELECT DISTINCT row.task_id
    FROM unnest(%(rows)s::bigint [], %(fences)s::uuid []) AS given (id, fence)
    INNER JOIN commands_hosts AS row ON given.id = row.id AND given.fence = row.fence
)

SELECT
    found.task_id,
    steps.alone,
    steps.waiting
FROM found
INNER JOIN tasks AS task ON found.task_id = task.id
CROSS JOIN LATERAL (
    SELECT
        count(*) = 1 AS alone,
        bool_or(blocked_rows > 0) AS waiting
    FROM commands
    WHERE task_id = found.task_id
    OFFSET 0
) AS steps
ORDER BY task.id
FOR NO KEY UPDATE OF task
