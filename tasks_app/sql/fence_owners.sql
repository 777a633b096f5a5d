-- Purpose: which hosts these fences belong to, for live output.
-- Locks: none.
-- Index: commands_hosts_fence_key.
SELECT
    fence,
    host_id,
    status
FROM commands_hosts
WHERE fence = ANY(%(fences)s::uuid [])
