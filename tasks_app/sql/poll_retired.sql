-- Purpose: which journals and instances of these hosts were replaced, and the pair that each had.
-- Locks: none of its own; the hosts are locked.
-- Index: uniq_host_retired_identity.
SELECT
    host_id,
    identity,
    run,
    seq
FROM host_retired_identities
WHERE
    host_id = ANY(%(hosts)s::bigint [])
    AND identity = ANY(%(identities)s::uuid [])
