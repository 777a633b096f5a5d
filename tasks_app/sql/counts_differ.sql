-- Purpose: steps whose counts by state differ from their rows. Always empty; what it finds is a defect,
--          which the sweep logs and mends. Hosts by outcome: outcomes_differ.
-- Locks: none.
-- Index: idx_commands_task_id, idx_command_hosts_command_status or uniq_command_hosts_command_host.
--        LATERAL: step by step, never all rows there are; OFFSET 0: task by task, not all steps.
SELECT
    command.id AS command_id,
    command.task_id,
    counted.*
FROM unnest(%(tasks)s::bigint []) AS asked (id)
CROSS JOIN LATERAL (
    SELECT step.* FROM commands AS step
    WHERE step.task_id = asked.id
    OFFSET 0
) AS command
CROSS JOIN LATERAL (
    SELECT
        count(*) FILTER (WHERE row.status = 'blocked') AS blocked,
        count(*) FILTER (WHERE row.status = 'pending') AS pending,
        count(*) FILTER (WHERE row.status = 'claimed') AS claimed,
        count(*) FILTER (WHERE row.status = 'running') AS running,
        count(*) FILTER (WHERE row.status = 'completed') AS completed,
        count(*) FILTER (WHERE row.status = 'failed') AS failed,
        count(*) FILTER (WHERE row.status = 'timeout') AS timeout,
        count(*) FILTER (WHERE row.status = 'dispatch_failed') AS dispatch_failed,
        count(*) FILTER (WHERE row.status = 'canceled') AS canceled,
        count(*) FILTER (WHERE row.status = 'interrupted') AS interrupted,
        count(*) FILTER (WHERE row.status = 'lost') AS lost,
        count(*) FILTER (WHERE row.status = 'skipped') AS skipped
    FROM commands_hosts AS row
    WHERE row.command_id = command.id
) AS counted
WHERE
    (
        counted.blocked, counted.pending, counted.claimed, counted.running, counted.completed,
        counted.failed, counted.timeout, counted.dispatch_failed, counted.canceled,
        counted.interrupted, counted.lost, counted.skipped
    ) IS DISTINCT FROM (
        command.blocked_rows, command.pending_rows, command.claimed_rows, command.running_rows,
        command.completed_rows, command.failed_rows, command.timeout_rows,
        command.dispatch_failed_rows, command.canceled_rows, command.interrupted_rows,
        command.lost_rows, command.skipped_rows
    )
