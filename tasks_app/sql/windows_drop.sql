-- Purpose: cancel and stop: windows without rows never get any; says how many hosts that leaves out.
-- Locks: the windows, under the task's lock.
-- Index: idx_task_windows_open.
WITH dropped AS (
    UPDATE task_windows SET done = true
    WHERE task_id = %(task)s AND NOT done
    RETURNING cardinality(host_ids) AS hosts
)

SELECT coalesce(sum(hosts), 0)::int AS hosts FROM dropped
