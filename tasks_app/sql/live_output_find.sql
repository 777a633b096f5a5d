-- Purpose: rows whose outcome is not known, that ended a short while ago, and of which no output is
--          kept: what viewers saw of them may still be in the live store.
-- Locks: none.
-- Index: idx_command_hosts_status, command_outputs_pkey of the day.
SELECT
    row.id,
    row.attempt,
    row.fence,
    row.finished_at
FROM commands_hosts AS row
WHERE
    row.status IN ('lost', 'interrupted')
    AND row.finished_at > now() - make_interval(secs => %(seconds)s)
    AND row.fence IS NOT NULL
    AND row.id < %(before)s
    AND NOT EXISTS (
        SELECT
        FROM command_outputs AS kept
        WHERE
            kept.command_host_id = row.id
            AND kept.attempt = row.attempt
            AND kept.created_at = row.finished_at
            AND octet_length(kept.stdout_head) + octet_length(kept.stderr_head) > 0
    )
ORDER BY row.id DESC
LIMIT %(limit)s
