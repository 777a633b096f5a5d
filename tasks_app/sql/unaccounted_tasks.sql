-- Purpose: which tasks these rows belong to; an unlocked read, only to know what to lock.
-- Locks: none.
-- Index: commands_hosts_pkey.
SELECT DISTINCT task_id
FROM commands_hosts
WHERE id = ANY(%(rows)s::bigint [])
