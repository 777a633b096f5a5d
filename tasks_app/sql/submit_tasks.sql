-- Purpose: creates tasks and their steps, all or none, however many, from one JSON list. What a draft
--          leaves out is filled in here, so that 500 tasks are little text to send and to read.
-- Locks: foreign-key locks on the creator and on hosts that steps are pinned to.
-- Index: none is read; every index of tasks and commands is written.
WITH given AS MATERIALIZED (
    SELECT *
    FROM jsonb_to_recordset(%(tasks)s::jsonb) AS task (
        task_id uuid, name text, description text, priority smallint, target jsonb,
        offline_policy text, delivery_seconds int, commands jsonb
    )
),

created AS (
    INSERT INTO tasks (
        task_id, name, description, status, priority, target, allowed_groups, total_hosts,
        completed_hosts, failed_hosts, lost_hosts, canceled_hosts, skipped_hosts, revision,
        offline_policy, delivery_seconds, current_wave, exclusive, template_version, created_by_id,
        error_code, error_message
    )
    SELECT
        task_id,
        name,
        coalesce(description, ''),
        'pending',
        coalesce(priority, 2),
        target,
        %(allowed_groups)s::bigint [],
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        coalesce(offline_policy, 'wait'),
        delivery_seconds,
        0,
        false,
        '',
        %(created_by)s::bigint,
        '',
        ''
    FROM given
    RETURNING id, task_id
)

INSERT INTO commands (
    command_id, task_id, host_id, position, name, kind, body, interpreter, parameters, environment,
    working_directory, run_as, timeout_seconds, on_failure, status, blocked_rows, pending_rows,
    claimed_rows, running_rows, completed_rows, failed_rows, timeout_rows, dispatch_failed_rows,
    canceled_rows, interrupted_rows, lost_rows, skipped_rows
)
SELECT
    command.command_id,
    created.id,
    command.host,
    command.position,
    coalesce(command.name, ''),
    coalesce(command.kind, 'command'),
    command.body,
    coalesce(command.interpreter, ''),
    coalesce(command.parameters, '[]'),
    coalesce(command.environment, '{}'),
    coalesce(command.working_directory, ''),
    coalesce(command.run_as, ''),
    command.timeout_seconds,
    coalesce(command.on_failure, 'stop'),
    'pending',
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    0
FROM given
INNER JOIN created USING (task_id)
CROSS JOIN LATERAL jsonb_to_recordset(given.commands) AS command (
    command_id uuid, host bigint, position smallint, name text, kind text, body text,
    interpreter text, parameters jsonb, environment jsonb, working_directory text, run_as text,
    timeout_seconds int, on_failure text
)
