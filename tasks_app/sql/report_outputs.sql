-- Purpose: keeps the capped output of late results with their attempts, in the partition of the day on
--          which they came; report_apply keeps that of the others.
-- Locks: none that others wait for.
-- Index: command_outputs_pkey of the day.
INSERT INTO command_outputs (
    command_host_id, attempt, created_at,
    stdout_head, stdout_tail, stdout_dropped_bytes,
    stderr_head, stderr_tail, stderr_dropped_bytes
)
SELECT
    row_id,
    attempt,
    now(),
    stdout_head,
    stdout_tail,
    stdout_dropped_bytes,
    stderr_head,
    stderr_tail,
    stderr_dropped_bytes
FROM unnest(
    %(rows)s::bigint [], %(attempts)s::int [],
    %(stdout_heads)s::bytea [], %(stdout_tails)s::bytea [], %(stdout_dropped)s::bigint [],
    %(stderr_heads)s::bytea [], %(stderr_tails)s::bytea [], %(stderr_dropped)s::bigint []
) AS outputs (
    row_id, attempt, stdout_head, stdout_tail, stdout_dropped_bytes,
    stderr_head, stderr_tail, stderr_dropped_bytes
)
