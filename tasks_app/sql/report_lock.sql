-- Purpose: locks the tasks that a batch of results belongs to, in a statement of its own; the fences are
--          looked up without a lock, only to know which.
-- Locks: tasks FOR NO KEY UPDATE in id order.
-- Index: commands_hosts_fence_key, tasks_pkey.
WITH found AS MATERIALIZED (
    SELECT DISTINCT row.task_id
    FROM unnest(%(fences)s::uuid []) AS given (fence)
    INNER JOIN commands_hosts AS row ON given.fence = row.fence
)

SELECT task.id
FROM found
INNER JOIN tasks AS task ON found.task_id = task.id
ORDER BY task.id
FOR NO KEY UPDATE OF task
