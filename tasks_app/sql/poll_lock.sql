-- Purpose: first statement of a look-up. Locks the hosts that asked and says what they may do, and
--          what they are called here.
-- Locks: hosts FOR NO KEY UPDATE in id order; hosts that another look-up holds are skipped.
--        Not FOR UPDATE: foreign-key locks, of steps pinned to a host, would block it.
-- Index: hosts_pkey.
SELECT
    id,
    status,
    credential_generation,
    quarantined_at IS NOT NULL AS quarantined,
    max_concurrency,
    hostname
FROM hosts
WHERE id = ANY(%(hosts)s::bigint [])
ORDER BY id
FOR NO KEY UPDATE SKIP LOCKED
