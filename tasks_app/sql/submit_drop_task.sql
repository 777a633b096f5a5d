-- Purpose: deletes a task that has not started, after its steps; says whether it did.
-- Locks: the task.
-- Index: tasks_pkey.
DELETE FROM tasks
WHERE id = %(task)s AND status = ANY(%(statuses)s)
RETURNING id
