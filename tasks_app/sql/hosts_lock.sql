-- Purpose: waits for the hosts' locks, where a look-up would skip them.
-- Locks: hosts FOR NO KEY UPDATE in id order, after tasks, before commands_hosts.
-- Index: hosts_pkey.
SELECT id
FROM hosts
WHERE id = ANY(%(hosts)s::bigint [])
ORDER BY id
FOR NO KEY UPDATE
