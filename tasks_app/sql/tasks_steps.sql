-- Purpose: which of these tasks have one step only, so that a host's row says the host's outcome; and
--          which have rows that wait for an earlier step: for the others advance has nothing to do.
-- Locks: none; the tasks are locked, and only those who lock them change blocked_rows.
-- Index: idx_commands_task_id.
SELECT
    task_id,
    count(*) = 1 AS alone,
    bool_or(blocked_rows > 0) AS waiting
FROM commands
WHERE task_id = ANY(%(tasks)s::bigint [])
GROUP BY task_id
