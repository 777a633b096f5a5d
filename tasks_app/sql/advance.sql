-- Purpose: after rows ended, the next step on the same host is released; or, where a step did not
--          complete and says stop, the steps after it are skipped. Closed tasks are left alone.
-- Locks: the rows, after tasks (tasks_lock), before commands.
-- Index: tasks_pkey or idx_tasks_status (it ends in the id), idx_commands_task_id,
--        uniq_command_hosts_command_host. What a host's steps amount to is worked out in one pass:
--        joined with itself, a batch of n pairs was n × n look-ups.
WITH pairs AS (
    SELECT DISTINCT
        task_id,
        host_id
    FROM unnest(%(tasks)s::bigint [], %(hosts)s::bigint []) AS ended (task_id, host_id)
),

steps AS (
    SELECT
        row.id,
        row.status,
        row.position,
        task.delivery_seconds,
        bool_or(row.status IN ('pending', 'claimed', 'running')) OVER pair AS busy,
        bool_or(
            row.status NOT IN ('blocked', 'pending', 'claimed', 'running', 'completed')
            AND command.on_failure = 'stop'
        ) OVER pair AS broken,
        min(row.position) FILTER (WHERE row.status = 'blocked') OVER pair AS next_position
    FROM pairs
    CROSS JOIN LATERAL (
        SELECT
            status,
            delivery_seconds
        FROM tasks
        WHERE id = pairs.task_id
        OFFSET 0
    ) AS task
    INNER JOIN commands AS command ON pairs.task_id = command.task_id
    CROSS JOIN LATERAL (
        SELECT
            id,
            status,
            position
        FROM commands_hosts
        WHERE command_id = command.id AND host_id = pairs.host_id
        OFFSET 0
    ) AS row
    WHERE task.status IN ('running', 'paused')
    WINDOW pair AS (PARTITION BY pairs.task_id, pairs.host_id)
)

UPDATE commands_hosts AS row SET
    status = CASE WHEN steps.broken THEN 'skipped' ELSE 'pending' END,
    finished_at = CASE WHEN steps.broken THEN now() END,
    deadline = CASE
        WHEN NOT steps.broken THEN now() + make_interval(secs => steps.delivery_seconds)
    END,
    delivery_deadline = CASE
        WHEN NOT steps.broken THEN now() + make_interval(secs => steps.delivery_seconds)
    END,
    revision = pg_current_xact_id()::text::bigint
FROM steps
WHERE
    row.id = steps.id
    AND steps.status = 'blocked'
    AND NOT steps.busy
    AND (steps.broken OR steps.position = steps.next_position)
RETURNING row.id, row.task_id, row.host_id, row.command_id, 'blocked' AS old_status, row.status
