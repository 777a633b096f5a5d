-- Purpose: before the claim, which takes rows in the order of its index. Without statistics the planner
--          would read every pending row and sort. Until the end of the transaction it does not sort
--          where an index has the order.
-- Locks: none.
-- Index: none.
SELECT set_config('enable_sort', 'off', true)
