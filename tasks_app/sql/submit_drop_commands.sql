-- Purpose: takes the steps of a task away that has not started: there are no rows of theirs.
-- Locks: the commands, under the task's lock.
-- Index: idx_commands_task_id.
DELETE FROM commands
WHERE task_id = %(task)s
