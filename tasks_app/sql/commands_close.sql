-- Purpose: the steps of those of these tasks that are closed come to their end too, also where rows
--          were never made.
-- Locks: commands of tasks that tasks_lock holds, in id order.
-- Index: tasks_pkey, idx_commands_task_id.
WITH locked AS (
    SELECT
        id,
        status,
        completed_rows AS completed,
        canceled_rows AS canceled,
        completed_rows + failed_rows + timeout_rows + dispatch_failed_rows + canceled_rows
        + interrupted_rows + lost_rows + skipped_rows AS ended
    FROM commands
    WHERE
        task_id IN (
            SELECT id
            FROM tasks
            WHERE id = ANY(%(tasks)s::bigint []) AND finished_at IS NOT NULL
            OFFSET 0
        )
    ORDER BY id
    FOR NO KEY UPDATE
)

UPDATE commands AS command SET
    status = CASE
        WHEN locked.canceled = locked.ended THEN 'canceled'
        WHEN locked.completed = locked.ended THEN 'completed'
        WHEN locked.completed = 0 THEN 'failed'
        ELSE 'partial'
    END
FROM locked
WHERE command.id = locked.id AND locked.status IN ('pending', 'running')
