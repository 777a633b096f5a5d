-- Purpose: the next window of a task that has no rows yet.
-- Locks: none; the task is locked.
-- Index: idx_task_windows_open.
SELECT
    id,
    host_ids
FROM task_windows
WHERE task_id = %(task)s AND NOT done
ORDER BY no
LIMIT 1
