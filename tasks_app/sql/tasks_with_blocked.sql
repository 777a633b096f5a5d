-- Purpose: which of these tasks have rows that wait for an earlier step; for the others advance has
--          nothing to do.
-- Locks: none; the tasks are locked, and only those who lock them change blocked_rows.
-- Index: idx_commands_task_id.
SELECT DISTINCT task_id
FROM commands
WHERE task_id = ANY(%(tasks)s::bigint []) AND blocked_rows > 0
