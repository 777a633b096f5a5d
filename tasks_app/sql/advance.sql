-- Purpose: after rows ended, the next step on the same host is released; or, where a step did not
--          complete and says stop, the steps after it are skipped. Closed tasks are left alone.
-- Locks: the rows, after tasks (tasks_lock), before commands.
-- Index: idx_commands_task_id, uniq_command_hosts_command_host.
WITH pairs AS (
    SELECT DISTINCT
        task_id,
        host_id
    FROM unnest(%(tasks)s::bigint [], %(hosts)s::bigint []) AS ended (task_id, host_id)
),

steps AS (
    SELECT
        pairs.task_id,
        pairs.host_id,
        row.id,
        row.status,
        row.position,
        command.on_failure,
        task.delivery_seconds
    FROM pairs
    CROSS JOIN LATERAL (
        SELECT *
        FROM tasks
        WHERE id = pairs.task_id
        OFFSET 0
    ) AS task
    INNER JOIN commands AS command ON pairs.task_id = command.task_id
    CROSS JOIN LATERAL (
        SELECT *
        FROM commands_hosts
        WHERE command_id = command.id AND host_id = pairs.host_id
        OFFSET 0
    ) AS row
    WHERE task.status IN ('running', 'paused')
),

places AS (
    SELECT
        task_id,
        host_id,
        bool_or(status IN ('pending', 'claimed', 'running')) AS busy,
        bool_or(
            status NOT IN ('blocked', 'pending', 'claimed', 'running', 'completed')
            AND on_failure = 'stop'
        ) AS broken,
        min(position) FILTER (WHERE status = 'blocked') AS next_position
    FROM steps
    GROUP BY task_id, host_id
)

UPDATE commands_hosts AS row SET
    status = CASE WHEN places.broken THEN 'skipped' ELSE 'pending' END,
    finished_at = CASE WHEN places.broken THEN now() END,
    deadline = CASE
        WHEN NOT places.broken THEN now() + make_interval(secs => steps.delivery_seconds)
    END,
    delivery_deadline = CASE
        WHEN NOT places.broken THEN now() + make_interval(secs => steps.delivery_seconds)
    END,
    revision = pg_current_xact_id()::text::bigint
FROM steps
INNER JOIN places ON steps.task_id = places.task_id AND steps.host_id = places.host_id
WHERE
    row.id = steps.id
    AND steps.status = 'blocked'
    AND NOT places.busy
    AND (places.broken OR steps.position = places.next_position)
RETURNING row.id, row.task_id, row.host_id, row.command_id, 'blocked' AS old_status, row.status
