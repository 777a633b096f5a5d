-- Purpose: everything that moves rows, except the claim, locks its tasks first, in a statement of its
--          own, and then acts on a fresh snapshot.
-- Locks: tasks FOR NO KEY UPDATE in id order.
-- Index: tasks_pkey.
SELECT
    id,
    task_id,
    status
FROM tasks
WHERE id = ANY(%(tasks)s::bigint [])
ORDER BY id
FOR NO KEY UPDATE
