-- Purpose: ends rows whose time is over. Pending: it could not be delivered. Claimed or running: it may
--          have started, so its outcome is unknown; never dispatch_failed, never pending again.
-- Locks: the rows in id order, after tasks (tasks_lock), before commands.
-- Index: commands_hosts_pkey, host_heartbeats_pkey.
WITH locked AS (
    SELECT
        row.id,
        row.status AS old_status,
        row.deadline < now() AS out_of_time
    FROM commands_hosts AS row
    INNER JOIN tasks AS task ON row.task_id = task.id
    LEFT JOIN host_heartbeats AS heartbeat ON row.host_id = heartbeat.host_id
    WHERE
        row.id = ANY(%(rows)s::bigint [])
        AND (
            row.deadline < now()
            OR (
                row.status = 'pending'
                AND task.offline_policy = 'fail'
                AND heartbeat.offline_at IS NOT NULL
            )
        )
        AND NOT (row.status = 'pending' AND task.status = 'paused')
    ORDER BY row.id
    FOR NO KEY UPDATE OF row
)

UPDATE commands_hosts AS row SET
    status = CASE WHEN locked.old_status = 'pending' THEN 'dispatch_failed' ELSE 'lost' END,
    error_code = CASE
        WHEN locked.old_status <> 'pending' THEN 'no_report'
        WHEN locked.out_of_time THEN 'delivery_time_over'
        ELSE 'host_offline'
    END,
    finished_at = now(),
    cancel_state = CASE WHEN row.cancel_state = 'requested' THEN 'unknown' ELSE row.cancel_state END,
    revision = pg_current_xact_id()::text::bigint
FROM locked
WHERE row.id = locked.id AND locked.old_status IN ('pending', 'claimed', 'running')
RETURNING row.id, row.task_id, row.host_id, row.command_id, locked.old_status, row.status
