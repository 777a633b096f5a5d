-- Purpose: keeps what viewers saw of a row whose outcome is not known, as its output; nothing where a
--          result came meanwhile.
-- Locks: none that others wait for.
-- Index: commands_hosts_pkey, command_outputs_pkey of the day.
INSERT INTO command_outputs (
    command_host_id, attempt, created_at,
    stdout_head, stdout_tail, stdout_dropped_bytes,
    stderr_head, stderr_tail, stderr_dropped_bytes
)
SELECT
    row.id,
    row.attempt,
    row.finished_at,
    %(stdout_head)s,
    %(stdout_tail)s,
    %(stdout_dropped)s,
    %(stderr_head)s,
    %(stderr_tail)s,
    %(stderr_dropped)s
FROM commands_hosts AS row
WHERE row.id = %(row)s AND row.fence = %(fence)s AND row.status IN ('lost', 'interrupted')
ON CONFLICT (command_host_id, attempt, created_at) DO UPDATE SET
    stdout_head = excluded.stdout_head,
    stdout_tail = excluded.stdout_tail,
    stdout_dropped_bytes = excluded.stdout_dropped_bytes,
    stderr_head = excluded.stderr_head,
    stderr_tail = excluded.stderr_tail,
    stderr_dropped_bytes = excluded.stderr_dropped_bytes
