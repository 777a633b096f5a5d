-- Purpose: which journals and instances of these hosts were replaced, and the pair that each had.
-- Locks: none of its own; the hosts are locked.
-- Index: uniq_host_retired_identity.
SELECT
    host_id,
    identity,
    run,
    seq
FROM unnest(%(hosts)s::bigint [], %(identities)s::uuid []) AS asked (host_id, identity)
INNER JOIN host_retired_identities USING (host_id, identity)
