-- Purpose: moves a task's host outcomes by what just happened to its rows, and closes it when the
--          outcomes sum to its hosts. A host counts once all its rows in the task have ended; its
--          outcome is the first present of failed, lost, canceled, skipped, completed. A task that
--          is closed already may only change between completed, partial and failed.
--          known: what is known without a look at other rows, by task: the outcomes of hosts that have
--          one row in it, and hosts of windows that will never get rows, which count as canceled.
-- Locks: tasks rows that tasks_lock holds.
-- Index: idx_commands_task_id, uniq_command_hosts_command_host, tasks_pkey.
WITH moved AS (
    SELECT *
    FROM unnest(
        %(rows)s::bigint [], %(tasks)s::bigint [], %(hosts)s::bigint [], %(old_statuses)s::text []
    ) AS moves (id, task_id, host_id, old_status)
),

pairs AS (
    SELECT
        task_id,
        host_id,
        array_agg(id) AS ids,
        array_agg(old_status) AS old_statuses
    FROM moved
    GROUP BY task_id, host_id
),

hosts_in_task AS (
    SELECT
        pairs.task_id,
        found.outcome_before,
        found.outcome_after
    FROM pairs
    CROSS JOIN LATERAL (
        SELECT
            CASE
                WHEN bool_or(step.old_status IN ('blocked', 'pending', 'claimed', 'running')) THEN NULL
                WHEN bool_or(step.old_status IN ('failed', 'timeout', 'dispatch_failed', 'interrupted'))
                    THEN 'failed'
                WHEN bool_or(step.old_status = 'lost') THEN 'lost'
                WHEN bool_or(step.old_status = 'canceled') THEN 'canceled'
                WHEN bool_or(step.old_status = 'skipped') THEN 'skipped'
                ELSE 'completed'
            END AS outcome_before,
            CASE
                WHEN bool_or(step.status IN ('blocked', 'pending', 'claimed', 'running')) THEN NULL
                WHEN bool_or(step.status IN ('failed', 'timeout', 'dispatch_failed', 'interrupted'))
                    THEN 'failed'
                WHEN bool_or(step.status = 'lost') THEN 'lost'
                WHEN bool_or(step.status = 'canceled') THEN 'canceled'
                WHEN bool_or(step.status = 'skipped') THEN 'skipped'
                ELSE 'completed'
            END AS outcome_after
        FROM commands AS command
        CROSS JOIN LATERAL (
            SELECT
                row.status,
                coalesce(pairs.old_statuses[array_position(pairs.ids, row.id)], row.status) AS old_status
            FROM commands_hosts AS row
            WHERE row.command_id = command.id AND row.host_id = pairs.host_id
            OFFSET 0
        ) AS step
        WHERE command.task_id = pairs.task_id
    ) AS found
),

worked_out AS (
    SELECT
        task_id,
        count(*) FILTER (WHERE outcome_after = 'completed') - count(*) FILTER (WHERE outcome_before = 'completed')
            AS completed,
        count(*) FILTER (WHERE outcome_after = 'failed') - count(*) FILTER (WHERE outcome_before = 'failed')
            AS failed,
        count(*) FILTER (WHERE outcome_after = 'lost') - count(*) FILTER (WHERE outcome_before = 'lost')
            AS lost,
        count(*) FILTER (WHERE outcome_after = 'canceled') - count(*) FILTER (WHERE outcome_before = 'canceled')
            AS canceled,
        count(*) FILTER (WHERE outcome_after = 'skipped') - count(*) FILTER (WHERE outcome_before = 'skipped')
            AS skipped
    FROM hosts_in_task
    GROUP BY task_id
),

delta AS (
    SELECT
        task_id,
        sum(completed)::int AS completed,
        sum(failed)::int AS failed,
        sum(lost)::int AS lost,
        sum(canceled)::int AS canceled,
        sum(skipped)::int AS skipped
    FROM (
        SELECT *
        FROM worked_out
        UNION ALL
        SELECT *
        FROM unnest(
            %(known_tasks)s::bigint [], %(known_completed)s::bigint [], %(known_failed)s::bigint [],
            %(known_lost)s::bigint [], %(known_canceled)s::bigint [], %(known_skipped)s::bigint []
        )
    ) AS changes
    GROUP BY task_id
),

after AS (
    SELECT
        task.id,
        task.status AS old_status,
        task.completed_hosts + delta.completed AS completed,
        task.failed_hosts + delta.failed AS failed,
        task.lost_hosts + delta.lost AS lost,
        task.canceled_hosts + delta.canceled AS canceled,
        task.skipped_hosts + delta.skipped AS skipped,
        task.total_hosts,
        task.stop_requested_at IS NOT NULL OR task.cancel_requested_at IS NOT NULL AS ended_early
    FROM delta
    CROSS JOIN LATERAL (
        SELECT *
        FROM tasks
        WHERE id = delta.task_id
        OFFSET 0
    ) AS task
),

judged AS (
    SELECT
        after.*,
        CASE
            WHEN after.old_status = 'canceled' THEN 'canceled'
            WHEN after.completed + after.failed + after.lost + after.canceled + after.skipped
                < after.total_hosts
                THEN after.old_status
            WHEN after.completed = after.total_hosts THEN 'completed'
            WHEN after.ended_early AND after.old_status IN ('running', 'paused') THEN 'canceled'
            WHEN after.completed = 0 THEN 'failed'
            ELSE 'partial'
        END AS new_status
    FROM after
)

UPDATE tasks AS task SET
    completed_hosts = judged.completed,
    failed_hosts = judged.failed,
    lost_hosts = judged.lost,
    canceled_hosts = judged.canceled,
    skipped_hosts = judged.skipped,
    status = judged.new_status,
    finished_at = CASE
        WHEN judged.new_status IN ('running', 'paused') THEN NULL
        -- A transaction that began before the stop, and waited for it, ends the task after it.
        ELSE coalesce(
            task.finished_at, greatest(now(), task.stop_requested_at, task.cancel_requested_at)
        )
    END,
    revision = task.revision + 1
FROM judged
WHERE task.id = judged.id
RETURNING task.id, task.task_id, judged.old_status, task.status
