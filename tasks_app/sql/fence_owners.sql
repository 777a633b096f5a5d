-- Purpose: which hosts these fences belong to, for live output.
-- Locks: none.
-- Index: commands_hosts_pkey.
SELECT
    fence,
    host_id,
    status
FROM commands_hosts
WHERE id = ANY(%(rows)s::bigint []) AND fence = ANY(%(fences)s::uuid [])
