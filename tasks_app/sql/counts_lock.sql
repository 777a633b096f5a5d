-- Purpose: takes the last lock of the lock order, in a statement of its own, before counts_move.
-- Locks: commands FOR NO KEY UPDATE in id order.
-- Index: commands_pkey.
SELECT id
FROM commands
WHERE id = ANY(%(commands)s::bigint [])
ORDER BY id
FOR NO KEY UPDATE
