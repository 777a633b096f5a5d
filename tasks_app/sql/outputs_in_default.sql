-- Purpose: whether a day's outputs went to the default partition, which would bar the day's own.
-- Locks: none.
-- Index: none; the default partition is empty unless the sweep was away for days.
SELECT
    exists(
        SELECT
        FROM command_outputs_default
        WHERE created_at >= %(first)s AND created_at < %(after)s
    ) AS found
