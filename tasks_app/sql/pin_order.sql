-- Purpose: before poll_in_flight and the claim, which take rows in the order of their indexes. The
--          planner, which thinks these small, would read another one in whole and sort. Until the end
--          of the transaction it does not sort where an index has the order.
-- Locks: none.
-- Index: none.
SELECT set_config('enable_sort', 'off', true)
