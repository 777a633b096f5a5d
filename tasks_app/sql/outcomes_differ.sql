-- Purpose: tasks whose counts of hosts by outcome differ from what their rows show. Always empty; what
--          it finds is a defect, which the sweep logs and mends. A host's outcome is judged as in
--          task_outcomes; hosts of windows that are done and got no rows were left out by a stop or
--          cancel, and count as canceled.
-- Locks: none.
-- Index: tasks_pkey, idx_commands_task_id, uniq_command_hosts_command_host or
--        idx_command_hosts_command_status, uniq_task_windows_task_no. LATERAL, OFFSET 0: task by
--        task and step by step, never all that there are.
SELECT
    task.id AS task_id,
    task.task_id AS public_id,
    counted.completed - task.completed_hosts AS completed,
    counted.failed - task.failed_hosts AS failed,
    counted.lost - task.lost_hosts AS lost,
    counted.canceled - task.canceled_hosts AS canceled,
    counted.skipped - task.skipped_hosts AS skipped
FROM unnest(%(tasks)s::bigint []) AS asked (id)
CROSS JOIN LATERAL (
    SELECT one.* FROM tasks AS one
    WHERE one.id = asked.id
    OFFSET 0
) AS task
CROSS JOIN LATERAL (
    SELECT
        count(*) FILTER (WHERE judged.outcome = 'completed')::int AS completed,
        count(*) FILTER (WHERE judged.outcome = 'failed')::int AS failed,
        count(*) FILTER (WHERE judged.outcome = 'lost')::int AS lost,
        (
            count(*) FILTER (WHERE judged.outcome = 'canceled')
            + coalesce(
                (
                    SELECT sum(cardinality(frozen.host_ids))
                    FROM task_windows AS frozen
                    WHERE frozen.task_id = task.id AND frozen.done
                ),
                0
            )
            - count(*)
        )::int AS canceled,
        count(*) FILTER (WHERE judged.outcome = 'skipped')::int AS skipped
    FROM (
        SELECT
            row.host_id,
            CASE
                WHEN bool_or(row.status IN ('blocked', 'pending', 'claimed', 'running')) THEN NULL
                WHEN bool_or(row.status IN ('failed', 'timeout', 'dispatch_failed', 'interrupted'))
                    THEN 'failed'
                WHEN bool_or(row.status = 'lost') THEN 'lost'
                WHEN bool_or(row.status = 'canceled') THEN 'canceled'
                WHEN bool_or(row.status = 'skipped') THEN 'skipped'
                ELSE 'completed'
            END AS outcome
        FROM commands AS command
        CROSS JOIN LATERAL (
            SELECT
                step.host_id,
                step.status
            FROM commands_hosts AS step
            WHERE step.command_id = command.id
            OFFSET 0
        ) AS row
        WHERE command.task_id = task.id
        GROUP BY row.host_id
    ) AS judged
) AS counted
WHERE
    (counted.completed, counted.failed, counted.lost, counted.canceled, counted.skipped)
    IS DISTINCT FROM (
        task.completed_hosts, task.failed_hosts, task.lost_hosts, task.canceled_hosts, task.skipped_hosts
    )
