-- Purpose: what is stored for results that were not written: the row or the earlier attempt that
--          has the fence, and the digest of the result that was kept.
-- Locks: none; after report_apply in the same transaction.
-- Index: commands_hosts_pkey, command_host_attempts_fence_key.
SELECT
    row.fence,
    row.host_id,
    row.status,
    row.result_digest,
    false AS retried
FROM commands_hosts AS row
WHERE row.id = ANY(%(rows)s::bigint []) AND row.fence = ANY(%(fences)s::uuid [])
UNION ALL
SELECT
    earlier.fence,
    row.host_id,
    earlier.status,
    earlier.result_digest,
    true AS retried
FROM command_host_attempts AS earlier
INNER JOIN commands_hosts AS row ON earlier.command_host_id = row.id
WHERE earlier.fence = ANY(%(fences)s::uuid [])
