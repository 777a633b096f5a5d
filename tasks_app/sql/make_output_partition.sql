-- Purpose: makes the partition of one day of the outputs, unless it is there (migration 0008).
-- Locks: an advisory lock of its own; command_outputs and its default partition while one is made.
-- Index: none; the default partition is empty unless the sweep was away for days.
SELECT make_output_partition(%(day)s) AS made
