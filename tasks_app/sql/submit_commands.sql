-- Purpose: gives a task that has not started new steps (submit_drop has taken the old ones away).
-- Locks: foreign-key locks on the task, locked already, and on hosts that steps are pinned to.
-- Index: none is read; every index of commands is written.
INSERT INTO commands (
    command_id, task_id, host_id, position, name, kind, body, interpreter, parameters, environment,
    working_directory, run_as, timeout_seconds, on_failure, status, blocked_rows, pending_rows,
    claimed_rows, running_rows, completed_rows, failed_rows, timeout_rows, dispatch_failed_rows,
    canceled_rows, interrupted_rows, lost_rows, skipped_rows
)
SELECT
    command.command_id,
    %(task)s::bigint,
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
FROM jsonb_to_recordset(%(commands)s::jsonb) AS command (
    command_id uuid, host bigint, position smallint, name text, kind text, body text,
    interpreter text, parameters jsonb, environment jsonb, working_directory text, run_as text,
    timeout_seconds int, on_failure text
)
