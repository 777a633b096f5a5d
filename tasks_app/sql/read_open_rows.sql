-- Purpose: the open rows of all tasks that run, by state, from the counts of their steps: at most
--          DM_MAX_CONCURRENT_TASKS tasks and those that are paused.
-- Locks: none.
-- Index: idx_tasks_status, idx_commands_task_id. OFFSET 0: task by task, never all steps there are.
SELECT
    coalesce(sum(command.blocked_rows), 0)::int AS blocked,
    coalesce(sum(command.pending_rows), 0)::int AS pending,
    coalesce(sum(command.claimed_rows), 0)::int AS claimed,
    coalesce(sum(command.running_rows), 0)::int AS running
FROM tasks AS task
CROSS JOIN LATERAL (
    SELECT *
    FROM commands AS step
    WHERE step.task_id = task.id
    OFFSET 0
) AS command
WHERE task.status = ANY(%(statuses)s)
