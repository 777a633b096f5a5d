-- Purpose: which tasks a batch of results belongs to; an unlocked read, only to know what to lock.
-- Locks: none.
-- Index: commands_hosts_fence_key.
SELECT DISTINCT task_id
FROM commands_hosts
WHERE fence = ANY(%(fences)s::uuid [])
