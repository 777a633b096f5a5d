-- Purpose: which of the reporting hosts may report at all: their state and credential generation,
--          from the database, so that a revocation holds without Redis.
-- Locks: none.
-- Index: hosts_pkey.
SELECT
    id,
    status,
    credential_generation
FROM hosts
WHERE id = ANY(%(hosts)s::bigint [])
