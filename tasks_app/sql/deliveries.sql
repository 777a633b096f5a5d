-- Purpose: what is to run, for commands that this process has not handed out lately.
-- Locks: none; a command does not change once its task was started.
-- Index: commands_pkey, tasks_pkey.
SELECT
    command.id,
    command.command_id,
    task.task_id,
    command.name,
    command.position,
    command.kind,
    command.body,
    command.interpreter,
    command.parameters,
    command.environment,
    command.working_directory,
    command.run_as,
    command.timeout_seconds
FROM commands AS command
INNER JOIN tasks AS task ON command.task_id = task.id
WHERE command.id = ANY(%(commands)s::bigint [])
