-- Purpose: makes the rows of one window of frozen targets, every step on every host that it is for:
--          the first step of a host pending, those after it blocked. A host that is there for its
--          pinned steps only gets no others.
-- Locks: foreign-key locks on commands; the task is locked already.
-- Index: idx_commands_task_id, task_windows_pkey, uniq_command_hosts_command_host.
WITH targets AS (
    SELECT
        task.id AS task_id,
        task.priority,
        task.delivery_seconds,
        host_id,
        host_id = ANY(frozen.pinned_ids) AS pinned_only
    FROM task_windows AS frozen
    INNER JOIN tasks AS task ON frozen.task_id = task.id
    CROSS JOIN LATERAL unnest(frozen.host_ids) AS host_id
    WHERE frozen.id = %(window)s
),

steps AS (
    SELECT
        targets.*,
        command.id AS command_id,
        command.position,
        command.position = min(command.position) OVER (PARTITION BY targets.host_id) AS first
    FROM targets
    INNER JOIN commands AS command
        ON
            targets.task_id = command.task_id
            AND (
                command.host_id = targets.host_id
                OR (command.host_id IS NULL AND NOT targets.pinned_only)
            )
),

made AS (
    INSERT INTO commands_hosts (
        command_id, host_id, task_id, position, status, attempt, error_code, error_message,
        priority, wave, cancel_state, revision, deadline, delivery_deadline, created_at
    )
    SELECT
        command_id,
        host_id,
        task_id,
        position,
        CASE WHEN first THEN 'pending' ELSE 'blocked' END,
        0,
        '',
        '',
        priority,
        0,
        '',
        pg_current_xact_id()::text::bigint,
        CASE WHEN first THEN now() + make_interval(secs => delivery_seconds) END,
        CASE WHEN first THEN now() + make_interval(secs => delivery_seconds) END,
        now()
    FROM steps
    ORDER BY position, host_id
    ON CONFLICT (command_id, host_id) DO NOTHING
    RETURNING command_id, status
)

SELECT
    command_id,
    status,
    count(*)::int AS rows
FROM made
GROUP BY command_id, status
