-- Purpose: the rows of listed fences that are not in flight on the host that listed them.
-- Locks: none.
-- Index: commands_hosts_pkey.
SELECT
    fence,
    host_id,
    status,
    result_digest IS NOT NULL AS reported,
    cancel_requested_at IS NOT NULL AS cancel_requested
FROM commands_hosts
WHERE id = ANY(%(rows)s::bigint []) AND fence = ANY(%(fences)s::uuid [])
