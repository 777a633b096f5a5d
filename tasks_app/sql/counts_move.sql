-- Purpose: moves a step's row counts by state, and rolls its own state up.
--          A step has ended when as many rows ended as it has targets.
-- Locks: commands rows that counts_lock holds.
-- Index: commands_pkey, tasks_pkey.
WITH delta AS (
    SELECT *
    FROM jsonb_to_recordset(%(deltas)s::jsonb) AS counted (
        id bigint, blocked int, pending int, claimed int, running int, completed int,
        failed int, timeout int, dispatch_failed int, canceled int, interrupted int, lost int, skipped int
    )
),

after AS (
    SELECT
        command.id,
        CASE
            WHEN command.host_id IS NULL THEN task.total_hosts - task.pinned_only_hosts ELSE 1
        END AS targets,
        command.claimed_rows + coalesce(delta.claimed, 0)
            + command.running_rows + coalesce(delta.running, 0) AS in_flight,
        command.completed_rows + coalesce(delta.completed, 0)
            + command.failed_rows + coalesce(delta.failed, 0)
            + command.timeout_rows + coalesce(delta.timeout, 0)
            + command.dispatch_failed_rows + coalesce(delta.dispatch_failed, 0)
            + command.canceled_rows + coalesce(delta.canceled, 0)
            + command.interrupted_rows + coalesce(delta.interrupted, 0)
            + command.lost_rows + coalesce(delta.lost, 0)
            + command.skipped_rows + coalesce(delta.skipped, 0) AS ended,
        command.completed_rows + coalesce(delta.completed, 0) AS completed,
        command.canceled_rows + coalesce(delta.canceled, 0) AS canceled
    FROM delta
    INNER JOIN commands AS command ON delta.id = command.id
    INNER JOIN tasks AS task ON command.task_id = task.id
)

UPDATE commands AS command SET
    blocked_rows = command.blocked_rows + coalesce(delta.blocked, 0),
    pending_rows = command.pending_rows + coalesce(delta.pending, 0),
    claimed_rows = command.claimed_rows + coalesce(delta.claimed, 0),
    running_rows = command.running_rows + coalesce(delta.running, 0),
    completed_rows = command.completed_rows + coalesce(delta.completed, 0),
    failed_rows = command.failed_rows + coalesce(delta.failed, 0),
    timeout_rows = command.timeout_rows + coalesce(delta.timeout, 0),
    dispatch_failed_rows = command.dispatch_failed_rows + coalesce(delta.dispatch_failed, 0),
    canceled_rows = command.canceled_rows + coalesce(delta.canceled, 0),
    interrupted_rows = command.interrupted_rows + coalesce(delta.interrupted, 0),
    lost_rows = command.lost_rows + coalesce(delta.lost, 0),
    skipped_rows = command.skipped_rows + coalesce(delta.skipped, 0),
    status = CASE
        WHEN after.ended >= after.targets AND after.completed = after.ended THEN 'completed'
        WHEN after.ended >= after.targets AND after.canceled = after.ended THEN 'canceled'
        WHEN after.ended >= after.targets AND after.completed = 0 THEN 'failed'
        WHEN after.ended >= after.targets THEN 'partial'
        WHEN after.in_flight > 0 OR after.ended > 0 THEN 'running'
        ELSE 'pending'
    END
FROM delta, after
WHERE command.id = delta.id AND command.id = after.id
