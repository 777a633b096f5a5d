-- Purpose: takes hosts out of service whose identity two agents share, until a person looks.
-- Locks: hosts rows, which the look-up holds already.
-- Index: hosts_pkey.
UPDATE hosts SET
    quarantined_at = now(),
    quarantine_reason = %(reason)s
WHERE id = ANY(%(hosts)s::bigint []) AND quarantined_at IS NULL
RETURNING id, host_id
