-- Purpose: the hot path looks rows up by key, a batch at a time; without statistics (a new table, a
--          restored backup) the planner takes scans for cheaper, and a statement falls to a
--          thirtieth of its speed. Until the end of the transaction it prefers keys, and makes one
--          plan for all values: planning each time cost more than most of these statements do.
-- Locks: none.
-- Index: none.
SELECT
    set_config('enable_seqscan', 'off', true) AS seqscan,
    set_config('enable_hashjoin', 'off', true) AS hashjoin,
    set_config('enable_mergejoin', 'off', true) AS mergejoin,
    set_config('plan_cache_mode', 'force_generic_plan', true) AS plans
